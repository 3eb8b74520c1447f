"""The work of `legation scale`."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table
from rich.text import Text

from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.model.autoscale import Autoscale, Metric
from legation.mesh.model.mesh import Mesh
from legation.mesh.types import parse_duration
from legation.runtime.control.messages import HostStatus, Message, Scaling
from legation.runtime.prometheus import Prometheus, PrometheusError
from telemetry.autoscale.chart import chart
from telemetry.autoscale.decide import PER_INSTANCE, TOLERANCE
from telemetry.autoscale.queries import policies, query
from telemetry.autoscale.simulate import Load, Simulation, UnreadableRecord, read_csv, simulate

_MOST_POINTS = 10_000
"""Of one series; a Prometheus gives 11,000."""

_SHORTEST_STEP = 15.0


class ScalingList(Message, frozen=True, kw_only=True):
    """`legation scale list -o json`."""

    mesh: str
    scaling: tuple[Scaling, ...]
    schema: int = 1


class SimulatedStep(Message, frozen=True, kw_only=True):
    """One moment; `time` is RFC 3339, `ratio` the load by what served."""

    time: str
    desired: int
    ready: int
    ratio: float


class SimulationReport(Message, frozen=True, kw_only=True):
    """`legation scale simulate -o json`; times are seconds."""

    service: str
    ups: int
    downs: int
    flaps: int
    short_seconds: float
    instance_hours: float
    steps: tuple[SimulatedStep, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Words:
    """What `simulate` was told."""

    service: str
    record: Path | None
    prometheus_url: str | None
    since: str
    begin: int | None
    start_delay: str


def list_scaled(status: HostStatus, form: Format) -> Exit:
    """Show what follows its load; FINDINGS where some of that is not known, or nobody scales at all."""
    found = tuple(s for service in status.services for s in service.scaling)
    if form is not Format.TABLE:
        write(ScalingList(mesh=status.mesh, scaling=found), form)
    elif found:
        console().print(_table(found))
    else:
        chatter("nothing follows its load: no service has autoscale, or telemetry has not looked yet")
    problems = [p for p in status.problems if p.startswith("nothing is scaled")]
    for problem in problems:
        chatter(problem)
    return Exit.FINDINGS if problems or any(s.blind for s in found) else Exit.OK


def _table(found: Sequence[Scaling]) -> Table:
    table = Table("service", "version", "ready", "desired", "min", "max", "last look", box=None, header_style="dim")
    for one in found:
        numbers = (one.ready, one.desired, one.minimum, one.maximum)
        why = Text(one.reason, "yellow" if one.blind else "")
        table.add_row(one.service, one.version or "-", *map(str, numbers), why)
        if one.change:
            table.add_row("", "", "", "", "", "", Text(f"last change, {_when(one.changed_at)}: {one.change}", "dim"))
    return table


def simulated(mesh: Mesh, words: Words, form: Format) -> Exit:
    """Draw what a service's policy makes of a load; FINDINGS where the load was above what served for a while."""
    policy = policies(mesh).get(words.service)
    if policy is None:
        known = ", ".join(policies(mesh)) or "no service has autoscale"
        raise fail(Exit.USAGE, f"{words.service} does not follow its load in this mesh file (known here: {known})")
    if not any(metric in PER_INSTANCE for metric, _ in policy.targets()):
        raise fail(Exit.USAGE, "what latency would have been with another number of instances nobody knows")
    loads = _loads(mesh, policy, words)
    delay = _duration("--start-delay", words.start_delay).total_seconds()
    result = simulate(policy, loads, begin=words.begin or policy.min, start_delay=delay)
    if form is Format.TABLE:
        _draw(words.service, policy, result)
    else:
        write(_report(words.service, result), form)
    return Exit.FINDINGS if result.short else Exit.OK


def _loads(mesh: Mesh, policy: Autoscale, words: Words) -> tuple[Load, ...]:
    if words.record is not None:
        try:
            return read_csv(words.record.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise fail(Exit.USAGE, f"cannot read {words.record}: {error}") from error
        except UnreadableRecord as error:
            raise fail(Exit.FINDINGS, f"{words.record}: {error}") from error
    url = words.prometheus_url or (mesh.prometheus.url if mesh.prometheus is not None else None)
    if url is None:
        raise fail(Exit.USAGE, "no load is named: --csv FILE, --prometheus-url URL, or prometheus.url in mesh.yaml")
    since = _duration("--since", words.since).total_seconds()
    metrics = [metric for metric, _ in policy.targets() if metric in PER_INSTANCE]
    try:
        loads = asyncio.run(_recorded(Prometheus(url, 30.0), mesh.mesh, words.service, metrics, since))
    except PrometheusError as error:
        raise fail(Exit.UNREACHABLE, str(error)) from error
    if not loads:
        raise fail(Exit.FINDINGS, f"{url} has recorded nothing of {words.service} in the last {words.since}")
    return loads


async def _recorded(
    prometheus: Prometheus, mesh: str, service: str, metrics: Sequence[Metric], since: float
) -> tuple[Load, ...]:
    """Return what a Prometheus has recorded; moments of which it knows nothing are left out."""
    now, step = time.time(), max(_SHORTEST_STEP, since / _MOST_POINTS)
    values: dict[float, dict[Metric, float]] = {}
    for metric in metrics:
        for series in await prometheus.query_range(query(metric, mesh, service), now - since, now, step):
            for at, value in series.samples:
                values.setdefault(at, {})[metric] = value
    return tuple(Load(at, known) for at, known in sorted(values.items()))


def _draw(service: str, policy: Autoscale, result: Simulation) -> None:
    out = console()
    first, last = result.steps[0].at, result.steps[-1].at
    hours = (last - first) / 3600
    out.print(f"{service}: {policy.min} to {policy.max} instances, {_when(first)} to {_when(last)} ({hours:.1f} h)\n")
    for line in chart(result, policy, min(out.width, 120)):
        out.print(line, markup=False, highlight=False)
    everybody = policy.max * hours
    out.print(
        f"\nraised {result.ups} times, lowered {result.downs} times, {result.flaps} of them back within ten minutes\n"
        f"{result.instance_seconds / 3600:.1f} instance hours, {everybody:.1f} with {policy.max} all the time\n"
        f"load above {1 + TOLERANCE:.0%} of what served for {result.short:.0f} s"
    )
    if policy.latency is not None:
        chatter("latency is left out: what it would have been with another number of instances nobody knows")


def _report(service: str, result: Simulation) -> SimulationReport:
    return SimulationReport(
        service=service,
        ups=result.ups,
        downs=result.downs,
        flaps=result.flaps,
        short_seconds=result.short,
        instance_hours=result.instance_seconds / 3600,
        steps=tuple(
            SimulatedStep(time=_when(s.at), desired=s.desired, ready=s.ready, ratio=round(s.ratio, 4))
            for s in result.steps
        ),
    )


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise fail(Exit.USAGE, f"{option}: {error}") from error


def _when(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
