"""The promtool test of the recorded series: what each of them is worth in a small story."""

from collections.abc import Mapping
from typing import Any

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.types import format_duration
from telemetry.rules.conventions import (
    ATTEMPTS,
    CERTIFICATE,
    CLASS,
    CLUSTER,
    DESTINATION,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    ERROR_RATIO,
    ERRORS,
    EXPIRY,
    GIVEN_UP,
    GRPC_CALLS,
    GRPC_CODE,
    GRPC_STATUS,
    HEALTHY,
    INSTANCE,
    LATENCY,
    LISTENER_EXPIRY,
    MESH,
    PREFIX,
    REQUESTS,
    RQ_GIVEN_UP,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    SOURCE,
)
from telemetry.rules.edges import any_calls, any_grpc
from telemetry.rules.story import STEP, Series

MINUTES = 10


def recorded_test(mesh: Mesh) -> dict[str, Any]:
    """Return one entry of `tests`: a busy service, one without traffic, one without a proxy."""
    busy, idle, gone = ({MESH: mesh.mesh, SERVICE: name} for name in ("busy", "idle", "gone"))
    own = {**busy, INSTANCE: "busy-v1-1"}
    caller = {MESH: mesh.mesh, SERVICE: "front", INSTANCE: "front-v1-1"}
    later = {**caller, INSTANCE: "front-v1-2"}
    to_busy, to_idle = ({PREFIX: names.outbound_stat_prefix(name)} for name in ("busy", "idle"))
    series = [
        *_requests({**caller, **to_busy}, "600", "150", "24"),
        *_requests({**caller, **to_idle}, "0", "0"),
        # What is given up is there from the first on: eight minutes in, 30 at once, 0.1 a second over five minutes.
        Series(RQ_XX, {**later, **to_busy, CLASS: "2"}, f"0x{MINUTES}"),
        Series(RQ_GIVEN_UP, {**later, **to_busy}, "_x7 30x3"),
        *_requests({**caller, **to_busy, MESH: "another"}, "60", "60", "60"),
        *_requests({**own, PREFIX: names.INBOUND}, "700", "200"),
        *(Series(RQ_TIME, {**caller, **to_busy, "le": le}, f"0+{rate}x{MINUTES}") for le, rate in _BUCKETS),
        # There from its first hit, eight minutes in, with the 150 that came at once: 0.5 a second over five minutes.
        Series(GRPC_CALLS, {**caller, CLUSTER: "busy_v1", GRPC_CODE: "UNAVAILABLE"}, "_x7 150x3"),
        Series(f"{GRPC_STATUS}14", {**caller, CLUSTER: "busy_v1"}, "_x7 150x3"),
        # Of a proxy that was not measured before: nobody knows when these came.
        Series(f"{GRPC_STATUS}14", {**caller, INSTANCE: "new", CLUSTER: "busy_v1"}, "_x7 900x3"),
        Series(SERVICE_INFO, gone, f"1x{MINUTES}"),
        Series(LISTENER_EXPIRY, {**own, CERTIFICATE: names.MESH_CERT}, f"900x{MINUTES}"),
    ]
    return {
        "name": "recorded series of a busy, an idle and an absent service",
        "interval": format_duration(STEP),
        "input_series": [one.render() for one in series],
        "promql_expr_test": [
            *(_felt(mesh, busy, idle) if any_calls(mesh) else ()),
            _expects(ATTEMPTS, mesh, (busy, 15)),
            _expects(HEALTHY, mesh, (gone, 0)),
            _expects(EXPIRY, mesh, ({**own, CERTIFICATE: names.MESH_CERT}, 900 - 60 * MINUTES)),
        ],
    }


def _felt(mesh: Mesh, busy: Mapping[str, str], idle: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what callers get: 5xx, given up and, where the mesh speaks it, gRPC failures."""
    to_busy, to_idle = ({MESH: mesh.mesh, SOURCE: "front", DESTINATION: name} for name in ("busy", "idle"))
    failed = 4 if any_grpc(mesh) else 3
    return [
        _expects(EDGE_REQUESTS, mesh, (to_busy, 13), (to_idle, 0)),
        _expects(EDGE_ERRORS, mesh, (to_busy, failed), (to_idle, 0)),
        _expects(REQUESTS, mesh, (busy, 13), (idle, 0)),
        _expects(ERRORS, mesh, (busy, failed), (idle, 0)),
        _expects(GIVEN_UP, mesh, (busy, 0.5), (idle, 0)),
        _expects(ERROR_RATIO, mesh, (busy, round(failed / 13, 3)), (idle, 0)),
        _expects(LATENCY["p50"], mesh, (busy, 0.05)),
        _expects(LATENCY["p95"], mesh, (busy, 0.095)),
        _expects(LATENCY["p99"], mesh, (busy, 0.099)),
    ]


_BUCKETS = (("50", "300"), ("100", "600"), ("+Inf", "600"))
"""Cumulative requests a minute by milliseconds: half of them up to 50, the rest up to 100."""


def _requests(labels: Mapping[str, str], good: str, bad: str, given_up: str = "") -> list[Series]:
    """Return a proxy's counters, growing by so many a minute."""
    classes = (("2", good), ("5", bad))
    answered = [Series(RQ_XX, {**labels, CLASS: kind}, f"0+{rate}x{MINUTES}") for kind, rate in classes]
    broken_off = [Series(RQ_GIVEN_UP, labels, f"0+{given_up}x{MINUTES}")] if given_up else []
    return [*answered, *broken_off]


def _expects(record: str, mesh: Mesh, *samples: tuple[Mapping[str, str], float]) -> dict[str, Any]:
    """Return what a recorded series is at the story's end. Rounded, as rates carry the error of a division."""
    return {
        "expr": f'round({record}{{{MESH}="{mesh.mesh}"}}, 0.001)',
        "eval_time": format_duration(STEP * MINUTES),
        "exp_samples": [{"labels": _braced(labels), "value": value} for labels, value in samples],
    }


def _braced(labels: Mapping[str, str]) -> str:
    pairs = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{{{pairs}}}"
