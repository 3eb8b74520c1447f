"""A rule as a value: what is recorded, or what is measured and when that is an alert."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from telemetry.rules.story import Case

Severity = Literal["page", "ticket"]
"""A page wakes somebody; a ticket is for working hours (SRE workbook, chapter 5)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded series; `labels` are added to it."""

    record: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A measurement and when it is bad: `signal` has data in a healthy mesh too, `condition` as in `> 0.05`.

    Without a condition it is bad when there is no data. `late`: a mesh that is young has no data of it yet.
    """

    signal: str
    condition: str = ""
    late: bool = False

    def __str__(self) -> str:
        """Return the comparison."""
        return f"({self.signal}) {self.condition}" if self.condition else f"absent({self.signal})"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, whole: its rule, its runbook and the stories that promtool tests it with.

    It fires when all terms hold (matched by `on`) for `hold`. `{{ $value }}` is the first term's signal.
    `runbook` says what to do, in Markdown; `dashboard` is where its link leads.
    """

    name: str
    terms: tuple[Term, ...]
    severity: Severity
    summary: str
    description: str
    runbook: str
    cases: tuple[Case, ...]
    on: tuple[str, ...] = ()
    hold: timedelta = timedelta(0)
    dashboard: str = "service"

    @property
    def expr(self) -> str:
        """The PromQL of all terms together."""
        return f" and on ({', '.join(self.on)}) ".join(map(str, self.terms))


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, every `interval` where it is given."""

    name: str
    rules: tuple[Recording | Alert, ...]
    interval: timedelta | None = None
