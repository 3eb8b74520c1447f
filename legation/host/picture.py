"""The mesh as a person sees it: one table, worst news below it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from legation.runtime.control.messages import ComponentStatus, HostStatus, InstanceStatus

_TITLES = {"openbao": "OpenBao"}
_STYLES = {True: "green", False: "yellow"}
_COLUMNS = ("SERVICE", "INSTANCE", "STATE", "CONFIG", "CERTIFICATE", "REQUESTS", "ADDRESS")
_LEFT_OUT_FIRST = ("ADDRESS", "REQUESTS", "SERVICE", "CERTIFICATE", "CONFIG")
_UNBOUND = 10_000


def picture(status: HostStatus, now: datetime) -> RenderableType:
    """Return a mesh's picture at a time (UTC)."""
    rows = tuple(_rows(status, now))
    title = Text.assemble((status.mesh, "bold"), "   ", status.gateway or "no service is exposed")
    shown = (Text(), _Instances(rows)) if rows else ()
    return Group(title, _components(status), *shown, *_scaling(status), *_rollover(status), *_problems(status, now))


@dataclass(frozen=True, slots=True)
class _Instances:
    """A row an instance, with as many columns as there is room for: what is left out is whole, not cut."""

    rows: tuple[tuple[str | Text, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbound = options.update(max_width=_UNBOUND)
        tables = [self._table(_LEFT_OUT_FIRST[:left_out]) for left_out in range(len(_LEFT_OUT_FIRST) + 1)]
        fitting = (t for t in tables if Measurement.get(console, unbound, t).maximum <= options.max_width)
        yield next(fitting, tables[-1])

    def _table(self, without: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        shown = [number for number, column in enumerate(_COLUMNS) if column not in without]
        for number in shown:
            table.add_column(_COLUMNS[number], no_wrap=True)
        for row in self.rows:
            table.add_row(*(row[number] for number in shown))
        return table


def _components(status: HostStatus) -> Text:
    """Return one line about our own processes."""
    line = Text()
    if status.vault is not None:
        line.append(f"Vault: {status.vault}   ")
    for name, component in status.components.items():
        runs = component.state == "running"
        line.append("● " if runs else "○ ", _STYLES[runs]).append(_TITLES.get(name, name))
        line.append("" if runs else f" {component.state}", _STYLES[runs]).append(f"{_restarts(component)}   ")
    return line


def _restarts(component: ComponentStatus) -> str:
    return f" (restarted {component.restarts}x)" if component.restarts else ""


def _rows(status: HostStatus, now: datetime) -> Iterator[tuple[str | Text, ...]]:
    groups = [("gateway", status.gateways), *((service.name, service.instances) for service in status.services)]
    for name, instances in groups:
        for number, instance in enumerate(instances):
            yield _row(name if number == 0 else "", instance, now)


def _row(service: str, instance: InstanceStatus, now: datetime) -> tuple[str | Text, ...]:
    return (
        service,
        instance.id.removeprefix("legation-"),
        _state(instance),
        Text("synced" if instance.synced else "-", _STYLES[instance.synced]),
        _certificate(instance, now),
        _requests(instance),
        instance.inbound,
    )


def _state(instance: InstanceStatus) -> Text:
    """Return how an instance is, and how often its Envoy was started again."""
    style, again = _STYLES[instance.healthy], sum(instance.envoy_restarts.values())
    return Text.assemble((instance.condition, style), (f" (Envoy restarted {again}x)" if again else "", style))


def _requests(instance: InstanceStatus) -> Text:
    """Return how many requests an instance's Envoy has answered, and how many of them badly."""
    if instance.requests is None:
        return Text("-")
    failed = f", {instance.failures:,} failed" if instance.failures else ""
    return Text(f"{instance.requests:,}{failed}", "yellow" if failed else "")


def _certificate(instance: InstanceStatus, now: datetime) -> Text:
    """Return how long a certificate is still good for."""
    if instance.certificate_expires is None:
        return Text("-", "yellow")
    left = int((datetime.fromisoformat(instance.certificate_expires) - now).total_seconds())
    if left <= 0:
        return Text("expired", "red")
    return Text(f"{_lasting(left)} left", "green" if left > 60 else "yellow")


def _rollover(status: HostStatus) -> Iterator[RenderableType]:
    if status.rollover is not None:
        yield Text()
        yield Text(status.rollover, "cyan")


def _scaling(status: HostStatus) -> Iterator[RenderableType]:
    """Yield a line for each version that follows the load: how many of how many, and why."""
    lines = [scaling for service in status.services for scaling in service.scaling]
    if lines:
        yield Text()
    for scaling in lines:
        number = f"{scaling.ready} of {scaling.desired} ready, {scaling.minimum} to {scaling.maximum}"
        name = f"{scaling.service} {scaling.version}".strip()
        style = "yellow" if scaling.blind else ""
        yield Text.assemble("↕ ", (name, "bold"), f"  {number}  ", (scaling.reason, style or "dim"))


def _problems(status: HostStatus, now: datetime) -> Iterator[RenderableType]:
    problems = [*status.problems, *(f"{i.id}: {i.unwell}{_since(i, now)}" for i in status.instances if i.unwell)]
    if problems:
        yield Text()
    for problem in problems:
        yield Text(f"! {problem}", "yellow")


def _since(instance: InstanceStatus, now: datetime) -> str:
    if instance.unwell_since is None:
        return ""
    return f", for {_lasting(int((now - datetime.fromisoformat(instance.unwell_since)).total_seconds()))}"


def _lasting(seconds: int) -> str:
    hours, rest = divmod(max(0, seconds), 3600)
    return f"{hours}h {rest // 60:02}m" if hours else f"{rest // 60}m {rest % 60:02}s"


def svg(status: HostStatus, now: datetime) -> str:
    """Return the picture as SVG, without the fonts from elsewhere that rich names."""
    with StringIO() as nowhere:
        console = Console(record=True, width=104, file=nowhere)
        console.print(picture(status, now))
    text = console.export_svg(title="legation up", unique_id="legation")
    return re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)
