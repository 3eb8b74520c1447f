"""Every name that our PromQL uses, once: labels, Envoy's metrics, recorded series, groups, selectors.

Recorded series are named `level:metric:operations` (Prometheus documentation, recording rules).
Envoy's names are those that a stock 1.40 prints at `/stats/prometheus`.
"""

import hashlib

from legation.mesh import names

MESH, SERVICE, VERSION, INSTANCE, ZONE, COMPONENT = "mesh", "service", "version", "instance", "zone", "component"
"""Labels of targets, given by discovery: sidecars have all but `component`; our own services `mesh` and `component`."""

DEPENDENCY = "dependency"
"""Label of outbound series: the called service, whatever version of it."""

PREFIX = "envoy_http_conn_manager_prefix"
CLASS = "envoy_response_code_class"
CLUSTER = "envoy_cluster_name"
CERTIFICATE = "envoy_tls_certificate"

RQ_XX = "envoy_http_downstream_rq_xx"
"""Zero-initialised for the classes 1 to 5, unlike `envoy_cluster_upstream_rq_xx`: errors are counted from the first."""

RQ_TIME = "envoy_http_downstream_rq_time_bucket"
RQ_ACTIVE = "envoy_http_downstream_rq_active"
RBAC_DENIED = "envoy_http_rbac_denied"
LISTENER_EXPIRY = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
CLUSTER_EXPIRY = "envoy_cluster_ssl_certificate_expiration_unix_time_seconds"
CONNECTED = "envoy_control_plane_connected_state"
REJECTED = {
    "cds": "envoy_cluster_manager_cds_update_rejected",
    "eds": "envoy_cluster_update_rejected",
    "lds": "envoy_listener_manager_lds_update_rejected",
    "rds": "envoy_http_rds_update_rejected",
    "sds": "envoy_sds_update_rejected",
}
"""Each refused (NACKed) update, by resource type."""

SERVICE_INFO = "mesh_service_info"
INSTANCE_HEALTHY = "mesh_instance_healthy"
INSTANCE_SYNCED = "mesh_instance_synced"
WATCH_CONNECTED = "telemetry_watch_connected"
"""What telemetry itself exports (`telemetry.metrics`)."""

REQUESTS = "service:mesh_requests:rate5m"
ERRORS = "service:mesh_errors:rate5m"
ERROR_RATIO = "service:mesh_errors:ratio_rate5m"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCY = {name: f"service:mesh_latency_seconds:{name}_rate5m" for name in QUANTILES}
EXPIRY = "instance:mesh_certificate_expiry_seconds:min"
REFUSED = "instance:mesh_config_rejected:increase10m"
HEALTHY = "service:mesh_instances_healthy:sum"

OWN = f"{names.LOCAL_APP}|{names.XDS_CLUSTER}|{names.SDS_CLUSTER}|{names.ADMIN_CLUSTER}"
"""Clusters of each sidecar that are no service that its app calls."""

RUNBOOKS = f"http://127.0.0.1:{names.TELEMETRY_PORT}/runbooks"
"""Where telemetry itself serves the runbooks, unless another place is given."""

GRAFANA = "http://localhost:3000"
"""Where Grafana is unless another place is given: its own default."""

UID_LENGTH = 40
"""Grafana's limit."""


def selector(metric: str, mesh: str, *more: str) -> str:
    """Return a metric's selector for one mesh: `selector("up", "shop", 'x=""')` is `up{mesh="shop",x=""}`."""
    matchers = ",".join((f'{MESH}="{mesh}"', *more))
    return f"{metric}{{{matchers}}}"


def inbound(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of what arrives for a service: at its sidecars, or at the gateway."""
    return selector(metric, mesh, f'{PREFIX}=~"{names.INBOUND}|{names.GATEWAY_LISTENERS}"', *more)


def outbound(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of what goes out to other services."""
    return selector(metric, mesh, f'{CLUSTER}!~"{OWN}"', *more)


def dashboard_uid(mesh: str, name: str) -> str:
    """Return the stable uid of a dashboard, of at most 40 characters; a long name of a mesh is cut and hashed."""
    uid = f"{mesh}-{name}"
    if len(uid) <= UID_LENGTH:
        return uid
    digest = hashlib.sha256(mesh.encode()).hexdigest()[:8]
    return f"{mesh[: UID_LENGTH - len(name) - 10]}-{digest}-{name}"
