"""The dashboard of one service: is it well, what its callers get, what it calls, and how its proxies are."""

from dashboards.panels import YES, Panel, Query, Row, Unit
from dashboards.parts import (
    BAD,
    CALLED,
    CALLED_PREFIX,
    CALLS,
    CHOSEN,
    GOOD,
    WINDOW,
    failure_steps,
    label,
    life_steps,
    lines,
    or_zero,
    stat,
    to_service,
)
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.availability import MOST_ERRORS
from telemetry.rules.alerts.configuration import XDS
from telemetry.rules.alerts.traffic import EJECTED, HANDSHAKES, OVERFLOWS
from telemetry.rules.conventions import (
    BUDGET,
    CERTIFICATE,
    CLASS,
    CONTROL_STREAMS,
    DESTINATION,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    ERROR_RATIO,
    EXPIRY,
    GIVEN_UP,
    GRPC_CLIENTS,
    GRPC_FAILURES,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    INSTANCE_ID,
    INSTANCE_REJECTS,
    INSTANCE_SYNCED,
    LATENCY,
    OBJECTIVE,
    RBAC_DENIED,
    REQUESTS,
    RQ_ACTIVE,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    SOURCE,
    VERSION,
    arriving,
    calls,
    inbound,
    outbound,
    selector,
)
from telemetry.rules.edges import any_calls, any_grpc, by_cluster, grpc_statuses, with_destination
from telemetry.rules.objectives import objectives


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows; without a call or an exposed service in the whole mesh, nobody calls and is called."""
    name = mesh.mesh
    called = any_calls(mesh)
    return (
        Row("Is it well?", status(mesh, called=called)),
        *([Row("What callers get", answers(mesh))] if called else []),
        Row("What reaches its instances", attempts(name)),
        *([Row("What it calls", dependencies(mesh))] if called else []),
        Row("Its proxies", proxies(mesh)),
    )


def status(mesh: Mesh, *, called: bool) -> tuple[Panel, ...]:
    """Return the line that one looks at first; its limits are those of the alerts."""
    name = mesh.mesh
    own = selector(EXPIRY, name, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    felt = (
        stat(
            "Requests",
            "Requests a second over the last five minutes, as its callers' proxies count them. No data: no measured "
            "proxy calls it.",
            "reqps",
            selector(REQUESTS, name, CHOSEN),
        ),
        stat(
            "Failed",
            "Share of requests that failed for their callers, after all retries: 5xx, given up, or a gRPC status that "
            "is the server's fault. Look at who gets failures, and at what it calls.",
            "percentunit",
            selector(ERROR_RATIO, name, CHOSEN),
            failure_steps(mesh),
        ),
        stat(
            "p99 latency",
            "One request in a hundred takes longer for its caller, retries included. Compare it with the latency of "
            "what it calls, below.",
            "s",
            selector(LATENCY["p99"], name, CHOSEN),
        ),
    )
    return (
        *(felt if called else ()),
        stat(
            "Instances",
            "Instances that take requests: registered, ready and healthy. At 0 every call fails: legation status "
            "says what is wrong with each.",
            "short",
            selector(HEALTHY, name, CHOSEN),
            GOOD,
        ),
        stat(
            "Certificate",
            "Time that the shortest-lived certificate of its proxies still has. It is renewed at half of its life; "
            "orange and red mean that renewal fails: see certmgr's log.",
            "s",
            f"min({own})",
            life_steps(mesh),
        ),
        stat(
            "Control plane",
            "Share of its proxies that are connected to xds_server. The others serve on, and miss changes.",
            "percentunit",
            f"avg({selector(CONTROL_STREAMS, name, CHOSEN, XDS)} > bool 0)",
            GOOD,
        ),
    )


def answers(mesh: Mesh) -> tuple[Panel, ...]:
    """Return rate, errors and duration as callers see them."""
    name = mesh.mesh
    classes = f"sum by ({CLASS}) (rate({selector(RQ_XX, name, CALLED_PREFIX)}{WINDOW}))"
    requests, errors = selector(EDGE_REQUESTS, name, CALLED), selector(EDGE_ERRORS, name, CALLED)
    share = f"clamp_max({errors} / ({requests} > 0), 1) or 0 * {requests}"
    return (
        lines(
            "Requests by caller",
            "Requests a second from each caller; legation-gateway is everybody outside of the mesh.",
            "reqps",
            (or_zero(f"sum by ({SOURCE}) ({requests})", SOURCE, "nobody", name), label(SOURCE)),
        ),
        lines(
            "Who gets failures",
            "Share of each caller's requests that failed after all retries, and what the service's `slo` allows (5 % "
            "without one). One caller alone: its network, its limits, or what only it asks for. All: the service.",
            "percentunit",
            (or_zero(f"sum by ({SOURCE}) ({share})", SOURCE, "nobody", name), label(SOURCE)),
            (_allowed(mesh), "allowed"),
        ),
        lines(
            "Latency",
            "How long requests take for their callers, retries included. Gaps: no requests. A wide distance of p50 "
            "and p99 points to queueing, or to one slow instance.",
            "s",
            *((or_zero(selector(series, name, CHOSEN), "quantile", q, name), q) for q, series in LATENCY.items()),
        ),
        lines(
            "Answers by status class",
            "Answers a second by class, as callers get them. 5xx are failures; many 4xx at once are often one "
            "caller's mistake, and 403 is access control.",
            "reqps",
            (or_zero(classes, CLASS, "2", name), label(CLASS) + "xx"),
        ),
        lines(
            "Given up",
            "Requests a second that the caller broke off before there was an answer: its own time limit, or a closed "
            "browser. They count as failed, and are in no latency.",
            "reqps",
            (or_zero(selector(GIVEN_UP, name, CHOSEN), "caller", "nobody", name), "given up"),
        ),
        *([_grpc(name)] if any_grpc(mesh) else []),
    )


def _allowed(mesh: Mesh) -> str:
    """Return the share of requests that may fail: as promised, else what an alert allows."""
    unpromised = f"{MOST_ERRORS} * group({selector(SERVICE_INFO, mesh.mesh, CHOSEN)})"
    available = f'{OBJECTIVE}="availability"'
    promised = f"max({selector(BUDGET, mesh.mesh, CHOSEN, available)})"
    promises = any(objective == "availability" for _, objective in objectives(mesh))
    return f"{promised} or {unpromised}" if promises else unpromised


def _grpc(mesh: str) -> Panel:
    chosen = grpc_statuses(mesh, {**GRPC_FAILURES, **GRPC_CLIENTS}, 'envoy_cluster_name=~"$service(_.+)?"')
    return lines(
        "gRPC statuses but OK",
        "gRPC calls a second that ended in another status than OK; to HTTP each of them is a 200. Those that are the "
        "server's fault (UNAVAILABLE, INTERNAL, …) count as failed, those that are the caller's do not.",
        "reqps",
        (or_zero(f"sum by (status) ({chosen})", "status", "none", mesh), label("status")),
    )


def attempts(mesh: str) -> tuple[Panel, ...]:
    """Return what the service's own proxies count: attempts, as a request that is retried arrives more than once."""
    counted = arriving(RQ_XX, mesh, CHOSEN)
    failed = arriving(RQ_XX, mesh, CHOSEN, f'{CLASS}="5"')
    denied = f"sum by ({INSTANCE}) (rate({inbound(RBAC_DENIED, mesh, CHOSEN)}{WINDOW}))"
    return (
        Panel(
            "Attempts by instance",
            "Attempts a second that each instance answered. One that stands out gets too much or too little: see "
            "load_balancing, and its health.",
            "reqps",
            (Query(f"sum by ({INSTANCE}) (rate({counted}{WINDOW}))", label(INSTANCE)),),
        ),
        Panel(
            "Failed attempts by instance",
            "Attempts a second that an instance answered with 5xx. Callers may not have felt them: they were tried "
            "again elsewhere. One instance alone is sick.",
            "reqps",
            (Query(f"sum by ({INSTANCE}) (rate({failed}{WINDOW}))", label(INSTANCE)),),
        ),
        lines(
            "Attempts by version",
            "How traffic divides over the versions: compare it with `split` of the service's routes.",
            "reqps",
            (f"sum by ({VERSION}) (rate({counted}{WINDOW}))", label(VERSION)),
        ),
        lines(
            "Requests in flight",
            "Requests that each instance works on now. One that stands out from the others is slow or stuck.",
            "short",
            (f"sum by ({INSTANCE}) ({arriving(RQ_ACTIVE, mesh, CHOSEN)})", label(INSTANCE)),
        ),
        lines(
            "Denied",
            "Requests a second that access control answered with 403: the caller does not have this service in its "
            "`calls`, or not this method or path.",
            "reqps",
            (or_zero(denied, INSTANCE, "nothing denied", mesh), label(INSTANCE)),
        ),
    )


def dependencies(of: Mesh) -> tuple[Panel, ...]:
    """Return what goes out, by called service."""
    mesh = of.mesh
    sent, errors = selector(EDGE_REQUESTS, mesh, CALLS), selector(EDGE_ERRORS, mesh, CALLS)
    share = f"clamp_max({errors} / ({sent} > 0), 1) or 0 * {sent}"
    times = with_destination(f"rate({calls(RQ_TIME, mesh, CHOSEN)}{WINDOW})")
    slow = f"histogram_quantile(0.95, sum by (le, {DESTINATION}) ({times})) / 1000"
    held = " + ".join(_outgoing(metric, mesh) for metric in OVERFLOWS)
    return (
        _dependency(
            mesh,
            "Requests sent",
            "Requests a second to each called service, retries not counted twice. A click leads to its dashboard.",
            "reqps",
            f"sum by ({DESTINATION}) ({sent})",
        ),
        _dependency(
            mesh,
            "Share failed",
            "Share of them that failed after all retries, the proxy's own 503 (no instance, no connection) included.",
            "percentunit",
            f"sum by ({DESTINATION}) ({share})",
        ),
        _dependency(
            mesh,
            "Latency p95",
            "One call in twenty takes longer, as seen from here: retries, the network and the other's proxy included.",
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
            "Requests and retries a second that a limit of this proxy held back. Raise the limit, or find out why the "
            "other is slow.",
            "ops",
            held,
        ),
        _dependency(
            mesh,
            "Failed connections",
            "Connections a second that could not be made: an instance is gone, or the two do not accept each "
            "other's certificate.",
            "ops",
            _outgoing("envoy_cluster_upstream_cx_connect_fail", mesh),
        ),
        *([_ejected(mesh)] if any(one.outlier_detection for one in of.services.values()) else []),
    )


def _ejected(mesh: str) -> Panel:
    counted = by_cluster(outbound(EJECTED, mesh, CHOSEN))
    return _dependency(
        mesh,
        "Kept out",
        "Instances of each called service that a proxy of this one keeps out, as they failed again and again "
        "(`outlier_detection`). Each is a sick instance.",
        "short",
        f"max by ({DESTINATION}) ({counted})",
    )


def proxies(mesh: Mesh) -> tuple[Panel, ...]:
    """Return how the service's Envoys are: identity, configuration, life."""
    name = mesh.mesh
    own = selector(EXPIRY, name, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    streams = f"min by ({INSTANCE}) ({selector(CONTROL_STREAMS, name, CHOSEN, XDS)})"
    listed = (
        Query(_told(INSTANCE_HEALTHY, name), "healthy", YES, GOOD),
        Query(_told(INSTANCE_SYNCED, name), "synced", YES, GOOD),
        Query(_told(INSTANCE_REJECTS, name), "rejects", None, BAD),
    )
    return (
        Panel(
            "Certificates",
            "Time that each proxy's certificate still has. A healthy one is a saw-tooth between the whole of its "
            "life and half of it.",
            "s",
            (Query(f"min by ({INSTANCE}) ({own})", label(INSTANCE)),),
            steps=life_steps(mesh),
        ),
        Panel(
            "Failed handshakes",
            "Connections a second that its proxies refused: plain text at an mTLS port, no certificate, or one of "
            "another CA or that has expired.",
            "ops",
            tuple(_handshakes(kind, what, name) for kind, what in HANDSHAKES.items()),
        ),
        lines(
            "Streams to xds_server",
            "Of each proxy: one for its configuration, one more where it checks its app. At 0 it serves on as it is.",
            "short",
            (streams, label(INSTANCE)),
        ),
        Panel(
            "Registered instances",
            "Each instance as xds_server has it: whether callers get it (healthy), whether it has ACKed all that it "
            "was sent (synced), and how many types of resources it rejects. legation status says why.",
            "short",
            listed,
            kind="table",
            width=24,
        ),
    )


def _told(metric: str, mesh: str) -> str:
    told = f"max by ({VERSION}, {INSTANCE_ID}) ({selector(metric, mesh, CHOSEN)})"
    return or_zero(told, INSTANCE_ID, "none", mesh)


def _handshakes(kind: str, what: str, mesh: str) -> Query:
    listener = selector(f"envoy_listener_ssl_{kind}", mesh, CHOSEN, f'envoy_listener_address="{names.INBOUND}"')
    return Query(or_zero(f"sum by ({SERVICE}) (rate({listener}{WINDOW}))", SERVICE, "$service", mesh), what)


def _dependency(mesh: str, title: str, description: str, unit: Unit, expr: str) -> Panel:
    query = Query(or_zero(expr, DESTINATION, "calls nobody", mesh), label(DESTINATION))
    return Panel(title, description, unit, (query,), links=(to_service(mesh, DESTINATION),))


def _outgoing(metric: str, mesh: str) -> str:
    """Return the rate of an outbound counter by called service."""
    return f"sum by ({DESTINATION}) ({by_cluster(f'rate({outbound(metric, mesh, CHOSEN)}{WINDOW})')})"
