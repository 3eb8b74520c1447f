"""The dashboard of one edge: what one service gets of another, and what becomes of it on the way."""

from dashboards.panels import Panel, Row
from dashboards.parts import WINDOW, failure_steps, label, lines, stat
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.traffic import OVERFLOWS
from telemetry.rules.conventions import (
    CLASS,
    CLUSTER,
    DESTINATION,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    INSTANCE,
    PREFIX,
    QUANTILES,
    RQ_GIVEN_UP,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SOURCE,
    selector,
)
from telemetry.rules.edges import any_calls, counted

EDGE = f'{SOURCE}="$source",{DESTINATION}="$destination"'
FROM = f'{SERVICE}="$source"'
CALLS = f'{PREFIX}=~"{names.outbound_stat_prefix("$destination")}|{names.gateway_stat_prefix("$destination")}"'
CLUSTERS = f'{CLUSTER}=~"$destination(_.+)?"'


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows; none in a mesh in which nobody calls."""
    if not any_calls(mesh):
        return ()
    name = mesh.mesh
    return (Row("What the caller gets", answers(mesh)), Row("What it takes", causes(name)))


def answers(of: Mesh) -> tuple[Panel, ...]:
    """Return rate, errors and duration of the edge."""
    mesh = of.mesh
    requests, errors = selector(EDGE_REQUESTS, mesh, EDGE), selector(EDGE_ERRORS, mesh, EDGE)
    buckets = f"sum by (le) (rate({selector(RQ_TIME, mesh, FROM, CALLS)}{WINDOW}))"
    classes = f"sum by ({CLASS}) (rate({selector(RQ_XX, mesh, FROM, CALLS)}{WINDOW}))"
    share = f"sum(clamp_max({errors} / ({requests} > 0), 1) or 0 * {requests})"
    return (
        stat("Requests", "Requests a second from the source to the destination, retries not counted twice.", "reqps",
             f"sum({requests})", height=8),
        stat("Failed", "Share of them that failed for the caller after all retries.", "percentunit", share,
             failure_steps(of), height=8),
        lines(
            "Answers by status class",
            "Answers a second by class, as the caller gets them. 403 is access control; 5xx may be the proxy's own.",
            "reqps",
            (classes, label(CLASS) + "xx"),
        ),
        lines(
            "Latency",
            "How long requests take for this caller, retries and network included. Gaps: no requests.",
            "s",
            *((f"histogram_quantile({q}, {buckets}) / 1000", legend) for legend, q in QUANTILES.items()),
        ),
    )  # fmt: skip


def causes(mesh: str) -> tuple[Panel, ...]:
    """Return what the caller's proxies do about the edge."""
    given_up = counted(selector(RQ_GIVEN_UP, mesh, FROM, CALLS), mesh)
    none = f"0 * {selector(RQ_XX, mesh, FROM, CALLS)}"
    held = " + ".join(_outgoing(metric, mesh) for metric in OVERFLOWS)
    return (
        lines(
            "Retries",
            "Tries a second beyond the first, by instance of the caller. Many: an instance of the destination is sick.",
            "ops",
            (_outgoing("envoy_cluster_upstream_rq_retry", mesh), label(INSTANCE)),
        ),
        lines(
            "Held back by limits",
            "Requests and retries a second that a circuit breaker of the caller held back before they were sent.",
            "ops",
            (held, label(INSTANCE)),
        ),
        lines(
            "Failed connections",
            "Connections a second that could not be made: an instance is gone, or a certificate was not accepted.",
            "ops",
            (_outgoing("envoy_cluster_upstream_cx_connect_fail", mesh), label(INSTANCE)),
        ),
        lines(
            "Given up",
            "Requests a second that the caller broke off before there was an answer: compare its time limit with the "
            "latency above.",
            "reqps",
            (f"sum by ({INSTANCE}) ({given_up} or {none})", label(INSTANCE)),
        ),
    )


def _outgoing(metric: str, mesh: str) -> str:
    return f"sum by ({INSTANCE}) (rate({selector(metric, mesh, FROM, CLUSTERS)}{WINDOW}))"
