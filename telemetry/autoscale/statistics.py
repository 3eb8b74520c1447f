"""What sidecars themselves count, turned into readings: for a host that has no Prometheus. Pure.

Envoy's text at `/stats/prometheus`: counters since its start, so a rate takes two looks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from legation.mesh import names
from legation.mesh.model.autoscale import Metric
from telemetry.autoscale.decide import Reading
from telemetry.rules.conventions import PREFIX, RQ_ACTIVE, RQ_TIME, RQ_XX

QUANTILE = 0.95
"""Of `latency`: one request in twenty may take longer."""

_READ = (RQ_XX, RQ_ACTIVE, RQ_TIME)
_INBOUND = f'{PREFIX}="{names.INBOUND}"'


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sidecar had counted at a time (seconds): requests answered, in flight, and by how long they took.

    `buckets` are (milliseconds, requests that took no longer), the last one without an end.
    """

    at: float
    answered: float
    active: float
    buckets: tuple[tuple[float, float], ...] = ()


def parse(text: str, at: float) -> Sample | None:
    """Return what a sidecar says of the requests that it lets in; None when it says nothing of them (yet)."""
    ours = (line for line in text.splitlines() if line.startswith(_READ) and _INBOUND in line)
    answered: float | None = None
    active, buckets = 0.0, dict[float, float]()
    for family in text_string_to_metric_families("\n".join(ours) + "\n"):
        for sample in family.samples:
            if sample.name == RQ_XX:
                answered = (answered or 0.0) + sample.value
            elif sample.name == RQ_ACTIVE:
                active += sample.value
            elif sample.name == RQ_TIME:
                buckets[float(sample.labels["le"])] = sample.value
    return None if answered is None else Sample(at, answered, active, tuple(sorted(buckets.items())))


def readings(samples: Mapping[str, Sequence[Sample]], since: float, expected: int) -> Mapping[Metric, Reading]:
    """Return the readings of those instances that have said something since a time, of `expected` ones.

    `samples` are each one's by its id, oldest first.
    """
    fresh = {i: taken for i, taken in samples.items() if taken and taken[-1].at >= since}
    twice = [(taken[0], taken[-1]) for taken in fresh.values() if _rises(taken)]
    silent = "no sidecar has answered"
    once = silent if not fresh else "each sidecar has been asked but once"
    active = sum(taken[-1].active for taken in fresh.values())
    rate = sum((new.answered - old.answered) / (new.at - old.at) for old, new in twice)
    return {
        "in_flight": Reading(active, len(fresh), expected) if fresh else Reading(None, why=silent),
        "requests_per_second": Reading(rate, len(twice), expected) if twice else Reading(None, why=once),
        "latency": _latency(twice, active, expected) if twice else Reading(None, why=once),
    }


def cpu(samples: Mapping[str, Sequence[tuple[float, float]]], since: float) -> Reading:
    """Return the cores that apps use together, from (time, seconds of processor time) of each instance."""
    fresh = [taken for taken in samples.values() if len(taken) > 1 and taken[-1][0] >= since]
    rates = [(new - old) / (later - earlier) for (earlier, old), (later, new) in ((t[0], t[-1]) for t in fresh)]
    kept = [rate for rate in rates if rate >= 0]
    return Reading(sum(kept), len(kept), len(samples)) if kept else Reading(None, why="no processor time is known")


def _rises(taken: Sequence[Sample]) -> bool:
    """Say whether a rate follows from samples: two at least, of one life of the Envoy."""
    return len(taken) > 1 and taken[-1].at > taken[0].at and taken[-1].answered >= taken[0].answered


def _latency(pairs: Iterable[tuple[Sample, Sample]], active: float, expected: int) -> Reading:
    """Return the time within which 95 % were answered. Where none was: 0, unless some wait, which says nothing."""
    counted: dict[float, float] = {}
    number = 0
    for old, new in pairs:
        number += 1
        before = dict(old.buckets)
        for le, count in new.buckets:
            counted[le] = counted.get(le, 0.0) + max(0.0, count - before.get(le, 0.0))
    found = quantile(QUANTILE, sorted(counted.items()))
    if found is not None:
        return Reading(found / 1000, number, expected)
    waiting = Reading(None, why="requests wait, and none was answered")
    return waiting if active else Reading(0.0, number, expected)


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """Return what `histogram_quantile` does, of (bound, count) up to +Inf; None where nothing is counted."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank, below, begin = share * buckets[-1][1], 0.0, 0.0
    for le, count in buckets:
        if count >= rank:
            if math.isinf(le):
                return begin
            return begin + (le - begin) * (rank - below) / (count - below) if count > below else le
        below, begin = count, le
    raise AssertionError("the last bucket has all of them")
