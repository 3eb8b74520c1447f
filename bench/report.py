"""A bench figure: one JSON line. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio of ours to the peer's must not be above, or if `least` below; if `absolute`, what ours itself."""

    limit: float
    text: str
    absolute: bool = False
    least: bool = False

    def met(self, value: float) -> bool:
        """Say whether a value, as it is (not rounded), reaches the goal."""
        return value >= self.limit if self.least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """What one case has shown: samples of ours and of the peer, in `unit`. A side that did not run has none.

    Samples are `paired` where each of ours was taken beside the peer's of the same place: what the machine did
    meanwhile met both, so the ratio is the median of the pairs' own.
    """

    bench: str
    case: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float]
    goal: Goal | None = None
    note: str = ""
    paired: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's, of the medians or of the pairs; None where one is missing, or the peer's is 0."""
        if not self.ours or not self.peer or not median(self.peer):
            return None
        return median(self._ratios) if self.paired else median(self.ours) / median(self.peer)

    @property
    def _ratios(self) -> Sequence[float]:
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)] if self.paired else ()

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None where there is none, or not what it is about."""
        if self.goal is None:
            return None
        value = self._median if self.goal.absolute else self.ratio
        return None if value is None else self.goal.met(value)

    @property
    def _median(self) -> float | None:
        return median(self.ours) if self.ours else None

    @property
    def _ratio_spread(self) -> Mapping[str, Sequence[float]]:
        """The quartiles of the pairs' ratios; nothing where there are no pairs."""
        if len(self._ratios) < 2:
            return {}
        lower, _, upper = quantiles(self._ratios, n=4)
        return {"ratio": [round(lower, 3), round(upper, 3)]}

    def line(self) -> str:
        """Return the figure as one line of JSON."""
        ratio = self.ratio
        fields: Mapping[str, object] = {
            "bench": self.bench,
            "case": self.case,
            "ours": _middle(self.ours),
            "peer": _middle(self.peer),
            "unit": self.unit,
            "ratio": None if ratio is None else round(ratio, 3),
            "goal": self.goal and self.goal.text,
            "holds": self.holds,
            "runs": len(self.ours),
            "spread": {"ours": _ends(self.ours), "peer": _ends(self.peer), **self._ratio_spread},
            "note": self.note,
        }
        return json.dumps(fields)


def _middle(samples: Sequence[float]) -> float | None:
    return round(median(samples), 3) if samples else None


def _ends(samples: Sequence[float]) -> list[float] | None:
    """Return the least and the greatest sample."""
    return [round(min(samples), 3), round(max(samples), 3)] if samples else None
