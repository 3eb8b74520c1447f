"""The promtool test of the recorded series: what each of them is worth in a small story."""

from collections.abc import Mapping
from typing import Any

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.types import format_duration
from telemetry.rules.conventions import (
    CERTIFICATE,
    CLASS,
    ERROR_RATIO,
    ERRORS,
    EXPIRY,
    HEALTHY,
    INSTANCE,
    LATENCY,
    LISTENER_EXPIRY,
    MESH,
    PREFIX,
    REFUSED,
    REJECTED,
    REQUESTS,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
)
from telemetry.rules.story import STEP, Series

MINUTES = 10


def recorded_test(mesh: Mesh) -> dict[str, Any]:
    """Return one entry of `tests`: a busy service, one without traffic, one without a proxy."""
    busy, idle, gone = ({MESH: mesh.mesh, SERVICE: name} for name in ("busy", "idle", "gone"))
    proxy = {**busy, INSTANCE: "busy-v1-1"}
    series = [
        *_requests(proxy, "600", "150"),
        *_requests({**idle, INSTANCE: "idle-v1-1"}, "0", "0"),
        *_requests({**proxy, MESH: "another"}, "60", "60"),
        *(Series(RQ_TIME, {**proxy, PREFIX: names.INBOUND, "le": le}, f"0+{rate}x{MINUTES}") for le, rate in _BUCKETS),
        Series(SERVICE_INFO, gone, f"1x{MINUTES}"),
        Series(LISTENER_EXPIRY, {**proxy, CERTIFICATE: names.MESH_CERT}, f"900x{MINUTES}"),
        *(Series(metric, proxy, f"0 0 1x{MINUTES - 2}") for metric in REJECTED.values()),
    ]
    return {
        "name": "recorded series of a busy, an idle and an absent service",
        "interval": format_duration(STEP),
        "input_series": [one.render() for one in series],
        "promql_expr_test": [
            _expects(REQUESTS, mesh, (busy, 12.5), (idle, 0)),
            _expects(ERRORS, mesh, (busy, 2.5), (idle, 0)),
            _expects(ERROR_RATIO, mesh, (busy, 0.2), (idle, 0)),
            _expects(LATENCY["p50"], mesh, (busy, 0.05)),
            _expects(LATENCY["p95"], mesh, (busy, 0.095)),
            _expects(LATENCY["p99"], mesh, (busy, 0.099)),
            _expects(HEALTHY, mesh, (gone, 0)),
            _expects(EXPIRY, mesh, ({**proxy, CERTIFICATE: names.MESH_CERT}, 900 - 60 * MINUTES)),
            _expects(REFUSED, mesh, *(({**proxy, "type": kind}, 1) for kind in sorted(REJECTED))),
        ],
    }


_BUCKETS = (("50", "300"), ("100", "600"), ("+Inf", "600"))
"""Cumulative requests a minute by milliseconds: half of them up to 50, the rest up to 100."""


def _requests(labels: Mapping[str, str], good: str, bad: str) -> list[Series]:
    """Return a proxy's counters, growing by so many a minute."""
    return [
        Series(RQ_XX, {**labels, PREFIX: names.INBOUND, CLASS: code_class}, f"0+{rate}x{MINUTES}")
        for code_class, rate in (("2", good), ("5", bad))
    ]


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
