"""The dashboard of one service: is it well, what arrives, what it calls, and how its proxies are."""

from dashboards.panels import Link, Panel, Query, Row, Step, Unit
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.availability import MOST_ERRORS
from telemetry.rules.alerts.certificates import PAGE_LIFE, TICKET_LIFE
from telemetry.rules.conventions import (
    CERTIFICATE,
    CLASS,
    CLUSTER,
    CONNECTED,
    DEPENDENCY,
    ERROR_RATIO,
    EXPIRY,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    INSTANCE_SYNCED,
    LATENCY,
    QUANTILES,
    RBAC_DENIED,
    REFUSED,
    REQUESTS,
    RQ_ACTIVE,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    VERSION,
    dashboard_uid,
    inbound,
    outbound,
    selector,
)

CHOSEN = f'{SERVICE}="$service"'
FAILED = f'{CLASS}="5"'
WINDOW = "[$__rate_interval]"


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows; without a call or an exposed service in the whole mesh, there are no dependencies to show."""
    name = mesh.mesh
    calls = bool(mesh.exposed()) or any(service.calls for service in mesh.services.values())
    return (
        Row("Is it well?", status(mesh)),
        Row("What arrives", arriving(name)),
        *([Row("What it calls", dependencies(name))] if calls else []),
        Row("Its proxies", proxies(name)),
    )


def status(mesh: Mesh) -> tuple[Panel, ...]:
    """Return the line that one looks at first; its limits are those of the alerts."""
    name, ttl = mesh.mesh, mesh.certificates.ttl.total_seconds()
    own = selector(EXPIRY, name, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    lives = (Step(None, "red"), Step(ttl / PAGE_LIFE, "orange"), Step(ttl / TICKET_LIFE, "green"))
    return (
        _stat(
            "Requests",
            "Requests a second over the last five minutes, as its own proxies count them. No data: no proxy of it "
            "is measured; look at Instances.",
            "reqps",
            selector(REQUESTS, name, CHOSEN),
        ),
        _stat(
            "Failed",
            "Share of requests that were answered with 5xx. Red is where MeshHighErrorRatio fires: look for the "
            "status classes and for the dependencies below.",
            "percentunit",
            selector(ERROR_RATIO, name, CHOSEN),
            (Step(None, "green"), Step(MOST_ERRORS / 5, "orange"), Step(MOST_ERRORS, "red")),
        ),
        _stat(
            "Slowest 1 %",
            "One request in a hundred takes longer (p99). Compare it with the latency of what it calls, below.",
            "s",
            selector(LATENCY["p99"], name, CHOSEN),
        ),
        _stat(
            "Instances",
            "Instances that take requests: registered, ready and healthy. At 0 every call fails: legation status "
            "says what is wrong with each.",
            "short",
            selector(HEALTHY, name, CHOSEN),
            (Step(None, "red"), Step(1, "green")),
        ),
        _stat(
            "Certificate",
            "Time that the shortest-lived certificate of its proxies still has. It is renewed at half of its life; "
            "orange and red mean that renewal fails: see certmgr's log.",
            "s",
            f"min({own})",
            lives,
        ),
        _stat(
            "Control plane",
            "Share of its proxies that are connected to xds_server. The others serve on, and miss changes.",
            "percentunit",
            f"avg({selector(CONNECTED, name, CHOSEN)})",
            (Step(None, "red"), Step(1, "green")),
        ),
    )


def arriving(mesh: str) -> tuple[Panel, ...]:
    """Return rate, errors and duration of what reaches the service."""
    all_requests = f"sum(rate({inbound(RQ_XX, mesh, CHOSEN)}{WINDOW}))"
    failed = f"sum(rate({inbound(RQ_XX, mesh, CHOSEN, FAILED)}{WINDOW}))"
    buckets = f"sum by (le) (rate({inbound(RQ_TIME, mesh, CHOSEN)}{WINDOW}))"
    denied = f"sum by ({INSTANCE}) (rate({inbound(RBAC_DENIED, mesh, CHOSEN)}{WINDOW}))"
    return (
        Panel(
            "Requests by status class",
            "Answers a second by class. 5xx are failures; many 4xx at once are often one caller's mistake, and 403 "
            "is access control.",
            "reqps",
            (Query(f"sum by ({CLASS}) (rate({inbound(RQ_XX, mesh, CHOSEN)}{WINDOW}))", _label(CLASS) + "xx"),),
        ),
        Panel(
            "Share failed",
            "Share of requests answered with 5xx; 0 without traffic. When it rises, see whether a dependency fails "
            "too, and whether it is one version only.",
            "percentunit",
            (Query(f"clamp_max({failed} / ({all_requests} > 0), 1) or 0 * {all_requests}", "failed"),),
        ),
        Panel(
            "Latency",
            "How long requests take, calls of others included. Gaps: no requests. A wide distance of p50 and p99 "
            "points to queueing, or to one slow instance.",
            "s",
            tuple(Query(f"histogram_quantile({q}, {buckets}) / 1000", name) for name, q in QUANTILES.items()),
        ),
        Panel(
            "Requests by version",
            "How traffic divides over the versions: compare it with `split` of the service's routes.",
            "reqps",
            (Query(f"sum by ({VERSION}) (rate({inbound(RQ_XX, mesh, CHOSEN)}{WINDOW}))", _label(VERSION)),),
        ),
        Panel(
            "Requests in flight",
            "Requests that each instance works on now. One that stands out from the others is slow or stuck.",
            "short",
            (Query(f"sum by ({INSTANCE}) ({inbound(RQ_ACTIVE, mesh, CHOSEN)})", _label(INSTANCE)),),
        ),
        Panel(
            "Denied",
            "Requests a second that access control answered with 403: the caller does not have this service in its "
            "`calls`, or not this method or path.",
            "reqps",
            (Query(_or_zero(denied, INSTANCE, "nothing denied", mesh), _label(INSTANCE)),),
        ),
    )


def dependencies(mesh: str) -> tuple[Panel, ...]:
    """Return what goes out, by called service."""
    completed = _outgoing("envoy_cluster_upstream_rq_completed", mesh)
    started = _outgoing("envoy_cluster_upstream_rq_total", mesh)
    answered = _outgoing("envoy_cluster_upstream_rq_xx", mesh, f'{CLASS}!="5"')
    times = f"rate({outbound('envoy_cluster_upstream_rq_time_bucket', mesh, CHOSEN)}{WINDOW})"
    slow = f"histogram_quantile(0.95, sum by (le, {DEPENDENCY}) ({_by_dependency(times)})) / 1000"
    refused = " + ".join(
        _outgoing(f"envoy_cluster_upstream_{kind}_overflow", mesh) for kind in ("cx", "rq_pending", "rq_retry")
    )
    return (
        _dependency(
            mesh,
            "Requests sent",
            "Requests a second to each called service, retries not counted twice. A click leads to its dashboard.",
            "reqps",
            f"{completed} or 0 * {started}",
        ),
        _dependency(
            mesh,
            "Share failed",
            "Share of them that ended in 5xx after all retries, the proxy's own 503 (no instance, no connection) "
            "included.",
            "percentunit",
            f"clamp_min(1 - ({answered} or 0 * {completed}) / ({completed} > 0), 0) or 0 * {started}",
        ),
        _dependency(
            mesh,
            "Latency p95",
            "One call in twenty takes longer, as seen from here: the network and the other's proxy are included. "
            "Calls that reached no instance are not in it.",
            "s",
            slow,
        ),
        _dependency(
            mesh,
            "Retries",
            "Tries a second beyond the first one. A steady few are a sick instance; as many as requests are an "
            "outage that retries make worse.",
            "ops",
            _outgoing("envoy_cluster_upstream_rq_retry", mesh),
        ),
        _dependency(
            mesh,
            "Refused by a circuit breaker",
            "Requests, connections and retries a second that a limit of this proxy held back. Raise the limit, or "
            "find out why the other is slow.",
            "ops",
            refused,
        ),
        _dependency(
            mesh,
            "Failed connections",
            "Connections a second that could not be made: an instance is gone, or the two do not accept each "
            "other's certificate.",
            "ops",
            _outgoing("envoy_cluster_upstream_cx_connect_fail", mesh),
        ),
    )


def proxies(mesh: str) -> tuple[Panel, ...]:
    """Return how the service's Envoys are: identity, configuration, life."""
    own = selector(EXPIRY, mesh, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    connected = f"min by ({INSTANCE}) ({selector(CONNECTED, mesh, CHOSEN)})"
    healthy = f"max by ({VERSION}, instance_id) ({selector(INSTANCE_HEALTHY, mesh, CHOSEN)})"
    synced = f"max by ({VERSION}, instance_id) ({selector(INSTANCE_SYNCED, mesh, CHOSEN)})"
    return (
        Panel(
            "Certificates",
            "Time that each proxy's certificate still has. A healthy one is a saw-tooth between the whole of its "
            "life and half of it.",
            "s",
            (Query(f"min by ({INSTANCE}) ({own})", _label(INSTANCE)),),
        ),
        Panel(
            "Failed handshakes",
            "Connections a second that its proxies refused: plain text at an mTLS port, no certificate, or one of "
            "another CA or that has expired.",
            "ops",
            tuple(_handshakes(kind, what, mesh) for kind, what in _HANDSHAKES.items()),
        ),
        Panel(
            "Control plane",
            "1 while the proxy is connected to xds_server. At 0 it serves on with what it has.",
            "short",
            (Query(connected, _label(INSTANCE)),),
        ),
        Panel(
            "Refused configuration",
            "Updates that its proxies refused (NACK) within ten minutes, by type; they keep the last good one. "
            "legation status says which and why.",
            "short",
            (Query(f"sum by (type) ({selector(REFUSED, mesh, CHOSEN)})", "{{type}}"),),
        ),
        Panel(
            "Registered instances",
            "Each instance as xds_server has it: whether callers get it (healthy), and whether it has ACKed all "
            "that it was sent (synced). A 0 that stays is worth a look at legation status.",
            "short",
            (
                Query(_or_zero(healthy, "instance_id", "none", mesh), "healthy"),
                Query(_or_zero(synced, "instance_id", "none", mesh), "synced"),
            ),
            kind="table",
            width=16,
        ),
    )


_HANDSHAKES = {
    "connection_error": "no TLS, or broken off",
    "fail_verify_no_cert": "no certificate",
    "fail_verify_error": "unknown CA or expired",
}


def _handshakes(kind: str, what: str, mesh: str) -> Query:
    listener = selector(f"envoy_listener_ssl_{kind}", mesh, CHOSEN, f'envoy_listener_address="{names.INBOUND}"')
    return Query(_or_zero(f"sum by ({SERVICE}) (rate({listener}{WINDOW}))", SERVICE, "$service", mesh), what)


def _stat(title: str, description: str, unit: Unit, expr: str, steps: tuple[Step, ...] = ()) -> Panel:
    return Panel(title, description, unit, (Query(expr, title),), "stat", steps, width=4, height=4)


def _dependency(mesh: str, title: str, description: str, unit: Unit, expr: str) -> Panel:
    url = f"/d/{dashboard_uid(mesh, SERVICE)}?var-service=${{__field.labels.{DEPENDENCY}}}"
    link = Link("Its dashboard", f"{url}&var-datasource=${{datasource}}&${{__url_time_range}}")
    query = Query(_or_zero(expr, DEPENDENCY, "calls nobody", mesh), _label(DEPENDENCY))
    return Panel(title, description, unit, (query,), links=(link,))


def _label(name: str) -> str:
    """Return the legend that shows a label's value."""
    return f"{{{{{name}}}}}"


def _outgoing(metric: str, mesh: str, *more: str) -> str:
    """Return the rate of an outbound counter by called service."""
    return f"sum by ({DEPENDENCY}) ({_by_dependency(f'rate({outbound(metric, mesh, CHOSEN, *more)}{WINDOW})')})"


def _by_dependency(expr: str) -> str:
    """Add the called service's name: a cluster's, without its version (`names.stat_name` puts `_` between)."""
    return f'label_replace({expr}, "{DEPENDENCY}", "$1", "{CLUSTER}", "([^_]+).*")'


def _or_zero(expr: str, label: str, value: str, mesh: str) -> str:
    """Return a query that gives one series of 0 where there is nothing to measure, for a service that exists."""
    listed = f"0 * group({selector(SERVICE_INFO, mesh, CHOSEN)})"
    return f'{expr} or on () label_replace({listed}, "{label}", "{value}", "", "")'
