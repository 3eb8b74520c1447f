"""The dashboards of a mesh, one line each. A new one is a file beside this, and a line here."""

from collections.abc import Callable
from dataclasses import dataclass

from dashboards import autoscaling, control, health, mesh, proxy, route, security, service, slo
from dashboards.panels import Row
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import DESTINATION, EDGE_REQUESTS, INSTANCE, SERVICE, SERVICE_INFO, SOURCE, selector

_SERVICE = (SERVICE, "Service", SERVICE_INFO, SERVICE)
_INSTANCE = (INSTANCE, "Proxy", "envoy_server_uptime", INSTANCE)
_SOURCE = (SOURCE, "From", EDGE_REQUESTS, SOURCE)
_DESTINATION = (DESTINATION, "To", f'{EDGE_REQUESTS}/{SOURCE}="$source"', DESTINATION)


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: its name (its uid is `<mesh>-<name>`), its rows, and what one chooses on it.

    `variables` are (name, title, metric with `/` and more matchers, label). `each` says that it is to
    have data for every service, not for those alone that have what it shows.
    """

    name: str
    title: str
    description: str
    rows: Callable[[Mesh], tuple[Row, ...]]
    variables: tuple[tuple[str, str, str, str], ...] = ()
    each: bool = False

    def queried(self, of: str) -> list[tuple[str, str, str]]:
        """Return the variables as (name, title, query)."""
        return [
            (name, title, f"label_values({_values(metric, of)}, {label})")
            for name, title, metric, label in self.variables
        ]


def _values(metric: str, of: str) -> str:
    name, _, more = metric.partition("/")
    return selector(name, of, *filter(None, [more]))


BOARDS = (
    Board("mesh", "mesh", "All services: the worst first, and who calls whom.", mesh.rows),
    Board(
        "service",
        "service",
        "One service: what callers get, what it calls, its proxies.",
        service.rows,
        (_SERVICE,),
        each=True,
    ),
    Board(
        "route", "route", "What one service gets of another, and what it takes.", route.rows, (_SOURCE, _DESTINATION)
    ),
    Board(
        "proxy", "proxy", "One proxy: its connection, configuration, certificate, traffic.", proxy.rows, (_INSTANCE,)
    ),
    Board("security", "security", "Certificates, handshakes, access control.", security.rows),
    Board("control", "control plane", "xds_server, certmgr, telemetry, and the Vault behind them.", control.rows),
    Board("slo", "objectives", "What services promise, and how fast their budgets are spent.", slo.rows, (_SERVICE,)),
    Board("health", "telemetry health", "Can the other dashboards be believed?", health.rows),
    Board(
        "autoscaling",
        "autoscaling",
        "What each instance carries, and how many there are.",
        autoscaling.rows,
        (_SERVICE,),
        each=True,
    ),
)
"""In the order in which they are linked."""


def boards(of: Mesh) -> tuple[Board, ...]:
    """Return the dashboards that have something to show in a mesh."""
    return tuple(board for board in BOARDS if board.rows(of))
