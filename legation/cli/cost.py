"""`legation telemetry cost`: the series that a mesh file makes, before it is applied."""

from rich.table import Table

from legation.cli.output import Format, console, write
from legation.mesh.model.mesh import Mesh
from legation.runtime.control.messages import Message
from telemetry.cost import Cost, costs


class ServiceCost(Message, frozen=True, kw_only=True):
    """The series of one service's proxies."""

    service: str
    series: int
    instances: int
    total: int


class TelemetryCost(Message, frozen=True, kw_only=True):
    """`legation telemetry cost -o json`."""

    mesh: str
    total: int
    services: tuple[ServiceCost, ...]


def show(mesh: Mesh, form: Format) -> None:
    """Write what each service's proxies cost, the dearest first."""
    found = sorted(costs(mesh), key=lambda cost: (-cost.total, cost.service))
    total = sum(cost.total for cost in found)
    if form is Format.TABLE:
        _table(found, total)
        return
    services = tuple(
        ServiceCost(service=c.service, series=c.series, instances=c.instances, total=c.total) for c in found
    )
    write(TelemetryCost(mesh=mesh.mesh, total=total, services=services), form)


def _table(found: list[Cost], total: int) -> None:
    table = Table("service", "series a proxy", "proxies", "series", box=None)
    for cost in found:
        table.add_row(cost.service, str(cost.series), str(cost.instances), str(cost.total))
    table.add_row("all", "", str(sum(cost.instances for cost in found)), str(total))
    console().print(table)
