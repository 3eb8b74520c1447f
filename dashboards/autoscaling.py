"""The dashboard of capacity: what each instance carries, and how many there are."""

from dashboards.panels import Panel, Row, Step
from dashboards.parts import CHOSEN, WINDOW, label, lines, stat
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import (
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    RQ_ACTIVE,
    RQ_XX,
    VERSION,
    arriving,
    selector,
)


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    name = mesh.mesh
    return (Row("Now", status(name)), Row("Load and instances", load(name)))


def status(mesh: str) -> tuple[Panel, ...]:
    """Return load and instances of the chosen service."""
    answered = f"sum(rate({arriving(RQ_XX, mesh, CHOSEN)}{WINDOW}))"
    healthy = f"sum({selector(HEALTHY, mesh, CHOSEN)})"
    active = f"sum({arriving(RQ_ACTIVE, mesh, CHOSEN)})"
    return (
        stat("Instances", "Instances that take requests now: ready, connected and healthy.", "short",
             healthy, (Step(None, "red"), Step(1, "green"))),
        stat("Per instance", "Attempts a second that an instance answers on average: what a policy of "
             "requests_per_second looks at.", "reqps", f"{answered} / ({healthy} > 0)"),
        stat("In flight per instance", "Requests that an instance works on now, on average.", "short",
             f"{active} / ({healthy} > 0)"),
    )  # fmt: skip


def load(mesh: str) -> tuple[Panel, ...]:
    """Return both over time."""
    healthy = f"sum by ({VERSION}) ({selector(INSTANCE_HEALTHY, mesh, CHOSEN)})"
    return (
        lines("Attempts by instance", "Attempts a second of each instance. Lines that part: load is not shared evenly.",
              "reqps", (f"sum by ({INSTANCE}) (rate({arriving(RQ_XX, mesh, CHOSEN)}{WINDOW}))", label(INSTANCE))),
        lines("In flight by instance", "Requests in flight in each instance. It rises before latency does.", "short",
              (f"sum by ({INSTANCE}) ({arriving(RQ_ACTIVE, mesh, CHOSEN)})", label(INSTANCE))),
        lines("Instances by version", "Healthy instances of each version over time.", "short",
              (f"{healthy} or on () {selector(HEALTHY, mesh, CHOSEN)}", label(VERSION))),
    )  # fmt: skip
