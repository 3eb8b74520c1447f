"""How many instances a version of a service should have: a policy, what was measured, and what was decided before.

This is Kubernetes's HPA v2, so that the same policy does the same on a host, in compose and as a manifest
(kubernetes/kubernetes, pkg/controller/podautoscaler: replica_calculator.go, horizontal.go). Pure: time is an argument.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from legation.mesh.model.autoscale import Autoscale, Metric

TOLERANCE = 0.1
"""What is as near to its target as this changes nothing (the HPA's own default)."""

FASTEST_SHARE, FASTEST_NUMBER = 1.0, 4
"""Within one `cooldown` at most this share is added, or this number, whichever is more (the HPA's own defaults)."""

AWAY = 30.0
"""Seconds without a look after which nothing is known of the time before."""

PER_INSTANCE: Mapping[Metric, str] = {
    "requests_per_second": "requests a second",
    "in_flight": "requests in flight",
    "cpu": "cores",
}
"""Metrics that add up over the instances, as messages call them; latency does not."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric now: `value` of all that report together; NaN and None are not known, `why` says why.

    Requests a second, requests, seconds (latency) or cores; `reporting` is how many instances it is of, `expected`
    how many should report.
    """

    value: float | None
    reporting: int = 0
    expected: int = 0
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a number that anything may follow from."""
        return self.value is not None and math.isfinite(self.value) and self.value >= 0 and self.reporting > 0


UNKNOWN = Reading(None, why="nothing was measured")


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured of one version: instances that are to be there, those that serve, and each metric."""

    desired: int
    ready: int
    readings: Mapping[Metric, Reading]


@dataclass(frozen=True, slots=True)
class History:
    """What was proposed, and by how many the number was changed, each with its time in seconds; oldest first."""

    proposals: tuple[tuple[float, int], ...] = ()
    changes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """How many there should be, and why. `ratios` are the metrics by their targets; `blind`: something is not known."""

    replicas: int
    reason: str
    ratios: Mapping[Metric, float]
    blind: bool = False


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What one metric asks for; None: it says nothing."""

    metric: Metric
    replicas: int | None
    ratio: float | None
    text: str
    incomplete: bool = False


def decide(policy: Autoscale, observed: Observed, history: History, now: float) -> tuple[Decision, History]:
    """Return the decision, and the history with it in; the change that it makes is noted by `changed`, when made."""
    seen = _seen(policy, history, observed.desired, now)
    proposals = tuple(_propose(metric, target, observed) for metric, target in policy.targets())
    blind = any(p.replicas is None or p.incomplete for p in proposals)
    ratios = {p.metric: p.ratio for p in proposals if p.ratio is not None}
    asked = _most(proposals, observed.desired)
    bounded, why = _bounded(policy, asked)
    kept = (*seen, (now, bounded))
    steady, why = _stabilized(policy, observed, bounded, why, kept, history.changes, now)
    period = policy.cooldown.total_seconds()
    changes = tuple((at, by) for at, by in history.changes if at > now - period)
    final, why = _paced(policy, observed.desired, steady, why, changes)
    return Decision(final, f"{why}; {_texts(proposals)}", ratios, blind), History(_thinned(kept), changes)


def _seen(policy: Autoscale, history: History, desired: int, now: float) -> tuple[tuple[float, int], ...]:
    """Return what was proposed within the window.

    Who has just been started, or was long away, knows of no moment that needed fewer: what is there now was needed.
    """
    window = policy.stabilization_window.total_seconds()
    last = max((at for at, _ in history.proposals), default=-math.inf)
    if now - last > max(window, AWAY):
        return ((now, desired),)
    return tuple((at, number) for at, number in history.proposals if at > now - window)


def told(history: History, desired: int, now: float) -> History:
    """Return the history of somebody who finds that another, an operator, has asked for so many instances."""
    return replace(history, proposals=(*(p for p in history.proposals if p[1] > desired), (now, desired)))


def changed(history: History, by: int, now: float) -> History:
    """Return the history of somebody whose decision was carried out: so many more (or fewer) instances."""
    return replace(history, changes=(*history.changes, (now, by))) if by else history


def _propose(metric: Metric, target: float, observed: Observed) -> _Proposal:
    """Return what one metric asks for, as `replica_calculator.go` has it."""
    reading = observed.readings.get(metric, UNKNOWN)
    if not reading.known or reading.value is None:
        return _Proposal(metric, None, None, f"{metric} is not known: {reading.why or 'it is no number'}")
    missing = max(0, reading.expected - reading.reporting)
    if metric == "latency":
        return _by_latency(reading.value, target, missing, observed)
    ratio = reading.value / (target * max(1, observed.desired))
    text = f"{_number(reading.value)} {PER_INSTANCE[metric]} in all, {_number(target)} for each"
    if missing:
        return _incomplete(metric, reading.value, target, missing, observed, text)
    if abs(ratio - 1) <= TOLERANCE:
        return _Proposal(metric, observed.desired, ratio, f"{text} (within {TOLERANCE:.0%})")
    return _Proposal(metric, math.ceil(reading.value / target), ratio, text)


def _incomplete(metric: Metric, value: float, target: float, missing: int, observed: Observed, text: str) -> _Proposal:
    """Return what a metric asks for of which some instances say nothing.

    They count as idle where there are too few instances, and as fully used where there are too many; where that
    turns the answer round, nothing changes.
    """
    here = max(1, observed.desired)
    text = f"{text}, {missing} not known"
    ratio = value / (target * here)
    careful = value if ratio > 1 else value + missing * target
    adjusted = careful / (target * here)
    if abs(adjusted - 1) <= TOLERANCE or (ratio > 1) != (adjusted > 1):
        return _Proposal(metric, observed.desired, ratio, text, incomplete=True)
    return _Proposal(metric, math.ceil(careful / target), ratio, text, incomplete=True)


def _by_latency(value: float, target: float, missing: int, observed: Observed) -> _Proposal:
    """Latency does not add up: what serves now is to be so many times more."""
    ratio, here = value / target, max(1, observed.ready)
    text = f"95 % take {_number(value * 1000)} ms, {_number(target * 1000)} ms are promised"
    if abs(ratio - 1) <= TOLERANCE:
        return _Proposal("latency", observed.desired, ratio, f"{text} (within {TOLERANCE:.0%})", bool(missing))
    desired = math.ceil(here * ratio)
    if ratio > 1:
        desired = max(desired, observed.desired)  # those that start will help
    if missing and desired < observed.desired:
        return _Proposal("latency", observed.desired, ratio, f"{text}, {missing} not known", True)
    return _Proposal("latency", desired, ratio, text, bool(missing))


def _most(proposals: Iterable[_Proposal], desired: int) -> int:
    """Return the most that any metric asks for; while one says nothing, never fewer than there are."""
    found = [p.replicas for p in proposals]
    numbers = [n for n in found if n is not None]
    return max([*numbers, *([desired] if len(numbers) < len(found) else [])], default=desired)


def _bounded(policy: Autoscale, asked: int) -> tuple[int, str]:
    """Keep a number between `min` and `max`."""
    if asked > policy.max:
        return policy.max, f"{asked} would be needed, {policy.max} is the maximum"
    if asked < policy.min:
        return policy.min, f"{asked} would do, {policy.min} is the minimum"
    return asked, f"{asked} needed"


def _stabilized(
    policy: Autoscale,
    observed: Observed,
    asked: int,
    why: str,
    proposals: Iterable[tuple[float, int]],
    changes: Iterable[tuple[float, int]],
    now: float,
) -> tuple[int, str]:
    """Take away only what no moment of the window has asked for, and nothing soon after a change."""
    if asked >= observed.desired:
        return asked, why
    cooling = [at for at, _ in changes if at > now - policy.cooldown.total_seconds()]
    if cooling:
        left = cooling[-1] + policy.cooldown.total_seconds() - now
        return observed.desired, f"{why}, in {left:.0f} s at the soonest (cooldown)"
    highest = min(observed.desired, max(n for _, n in proposals))
    if highest <= asked:
        return asked, why
    since = max(at for at, n in proposals if n > asked)
    left = since + policy.stabilization_window.total_seconds() - now
    return highest, f"{why}, in {left:.0f} s unless more are needed again (stabilization_window)"


def _paced(
    policy: Autoscale, desired: int, asked: int, why: str, changes: Iterable[tuple[float, int]]
) -> tuple[int, str]:
    """Add no more than a period allows, counted from how many there were at its start."""
    if not policy.min <= desired <= policy.max:
        return max(policy.min, min(asked, policy.max)), why  # bounds are not waited for
    begin = desired - sum(by for _, by in changes)
    most = max(math.ceil(begin * (1 + FASTEST_SHARE)), begin + FASTEST_NUMBER)
    if asked > desired and asked > most:
        return max(desired, most), f"{why}, {max(desired, most)} at once (cooldown)"
    return asked, why


def _texts(proposals: Iterable[_Proposal]) -> str:
    return "; ".join(p.text for p in proposals)


def _thinned(proposals: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
    """Leave out what a later proposal of as many or more says too: only those can be the most of a window."""
    kept: list[tuple[float, int]] = []
    for at, number in reversed(proposals):
        if not kept or number > kept[-1][1]:
            kept.append((at, number))
    return tuple(reversed(kept))


def _number(value: float) -> str:
    """Return a number with three digits that say something: 812, 81.2, 0.81."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
