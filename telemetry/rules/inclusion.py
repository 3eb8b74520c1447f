"""Which of Envoy's statistics anything of ours reads: names of metrics in PromQL to patterns of Envoy's own names.

What no pattern matches an Envoy does not even count (`stats_matcher`): a sidecar has some 2,000
statistics, and 500 more for each service that it calls; our queries read a tenth of them.
"""

from collections.abc import Iterable

OWN_READERS = (
    "envoy_http_downstream_rq_completed",
    "envoy_http_downstream_rq_active",
    "envoy_http_downstream_cx_active",
    "envoy_cluster_upstream_cx_connect_fail",
    "envoy_cluster_manager_active_clusters",
    "envoy_listener_ssl_handshake",
    "envoy_server_live",
    "envoy_http_rbac_policy_shadow_denied",
    "envoy_connection_limit_limited_connections",
    "envoy_plaintext_requests",
)
"""What `legation status`, a draining sidecar, an operator who tries a policy, and the tests read."""

_CLUSTER = r"^cluster\.[a-z0-9][a-z0-9_-]*\."
_HTTP = r"^http\.(inbound|(outbound|gateway)_[a-z0-9][^.]*)\."
_APART = r"\.envoy\.http_conn_manager_prefix\.(outbound|gateway)_[a-z0-9].*$"
"""What comes behind the name of what is counted apart (`xds_server.compile.apart`)."""
_LISTENER = r"^listener\.inbound\."
_SCOPES = (
    ("envoy_cluster_manager_", r"^cluster_manager\."),
    ("envoy_cluster_", _CLUSTER),
    ("envoy_http_", _HTTP),
    ("envoy_listener_manager_", r"^listener_manager\."),
    ("envoy_listener_", _LISTENER),
    ("envoy_server_", r"^server\."),
)
"""What a metric's name begins with, and where Envoy counts it: the longest first."""

_SPECIAL = {
    "envoy_http_downstream_rq_xx": (_HTTP + r"downstream_rq_[1-5]xx$", r"^http\.downstream_rq_xx" + _APART),
    "envoy_http_downstream_rq_time": (_HTTP + r"downstream_rq_time$", r"^http\.downstream_rq_time" + _APART),
    "envoy_http_downstream_rq_given_up": (r"^http\.downstream_rq_given_up" + _APART,),
    "envoy_cluster_grpc_status": (
        r"^cluster\.grpc_status\.envoy\.cluster_name\.[a-z0-9][a-z0-9_-]*\.envoy\.grpc_status\.[A-Z_]+$",
    ),
    "envoy_http_downstream_rq_completed": (r"^http\.(inbound|gateway_[^.]+)\.downstream_rq_completed$",),
    "envoy_http_downstream_rq_active": (r"^http\.(inbound|gateway_[^.]+)\.downstream_rq_active$",),
    "envoy_http_downstream_cx_active": (r"^http\.(inbound|gateway_[^.]+)\.downstream_cx_active$",),
    "envoy_http_no_route": (r"^http\.(blocked|outbound__[0-9]+)\.no_route$",),
    "envoy_http_rbac_denied": (r"^http\.(inbound|outbound_legation-passthrough)\.rbac\.denied$",),
    "envoy_http_rbac_policy_shadow_denied": (r"^http\.inbound\.rbac\.policy\.[^.]+\.shadow_denied$",),
    "envoy_connection_limit_limited_connections": (r"^connection_limit\.inbound\.limited_connections$",),
    "envoy_access_logs_open_telemetry_access_log_to_telemetry_logs_dropped": (
        r"^access_logs\.open_telemetry_access_log\.to_telemetry\.logs_dropped$",
    ),
    "envoy_tracing_opentelemetry_spans_dropped": (r"^tracing\.opentelemetry\.spans_dropped$",),
    "envoy_plaintext_requests": (r"^plaintext\.requests\..+$",),
    "envoy_listener_ssl_certificate_expiration_unix_time_seconds": (
        _LISTENER + r"ssl\.certificate\.[^.]+\.expiration_unix_time_seconds$",
    ),
    "envoy_cluster_ssl_certificate_expiration_unix_time_seconds": (
        r"^cluster\._xds\.ssl\.certificate\.[^.]+\.expiration_unix_time_seconds$",
    ),
    "envoy_cluster_upstream_rq_active": (r"^cluster\._xds\.upstream_rq_active$",),
    "envoy_cluster_upstream_cx_connect_fail": (
        r"^cluster\.(_local_app|[a-z0-9][a-z0-9_-]*)\.upstream_cx_connect_fail$",
    ),
}
"""Names whose parts Envoy turns into labels, or that are read of some places alone."""


def inclusion(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns (RE2) of what these metrics and our own readers need, sorted.

    ValueError for one of Envoy's of which we do not know where it is counted.
    """
    found: set[str] = set()
    for metric in {*metrics, *OWN_READERS}:
        if metric.removeprefix("envoy_cluster_grpc_").isdecimal():
            found.add(_CLUSTER + r"grpc\.[0-9]+$")
        elif metric.startswith("envoy_"):
            found.update(_SPECIAL.get(metric.removesuffix("_bucket")) or (_plain(metric.removesuffix("_bucket")),))
    return tuple(sorted(found))


def _plain(metric: str) -> str:
    """Return the pattern of a name without labels of its own; between words Envoy has a dot or an underscore."""
    for beginning, scope in _SCOPES:
        if metric.startswith(beginning):
            words = metric.removeprefix(beginning).split("_")
            return scope + "[._]".join(words) + "$"
    raise ValueError(f"{metric}: it is not known where Envoy counts this")
