"""The dashboard of capacity: what each instance carries, how many there are, and what autoscaling makes of it."""

from dashboards.panels import YES, Panel, Row, Step
from dashboards.parts import CHOSEN, WINDOW, label, lines, or_zero, stat
from legation.mesh.model.mesh import Mesh
from telemetry.autoscale.decide import TOLERANCE
from telemetry.autoscale.queries import policies
from telemetry.rules.conventions import (
    BLIND,
    CHANGES,
    CPU_SECONDS,
    DESIRED,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    INSTANCE_ID,
    LEAST,
    MOST,
    RATIO,
    RQ_ACTIVE,
    RQ_XX,
    VERSION,
    arriving,
    selector,
)


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    name = mesh.mesh
    scaled = (Row("Policy", policy(name)),) if policies(mesh) else ()
    return (Row("Now", status(name)), *scaled, Row("Load and instances", load(name)))


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


def policy(mesh: str) -> tuple[Panel, ...]:
    """Return what is desired, why, and between which bounds; a service without a policy shows what it has."""
    healthy = selector(HEALTHY, mesh, CHOSEN)
    desired = f"sum by ({VERSION}) ({selector(DESIRED, mesh, CHOSEN)})"
    bounds = [f"max by ({VERSION}) ({selector(which, mesh, CHOSEN)}) or on () {healthy}" for which in (LEAST, MOST)]
    ratio = f"max by ({VERSION}, metric) ({selector(RATIO, mesh, CHOSEN)})"
    changes = f"sum by ({VERSION}, direction) (increase({selector(CHANGES, mesh, CHOSEN)}[1h]))"
    blind = f"max by ({VERSION}) ({selector(BLIND, mesh, CHOSEN)})"
    used = f"sum by ({INSTANCE_ID}) (rate({selector(CPU_SECONDS, mesh, CHOSEN)}[5m]))"
    return (
        lines("Desired and healthy", "Instances that the load asks for, those that take requests, and the "
              "bounds of the policy. Desired above healthy for long: new ones do not get ready. Desired at its "
              "maximum: raise max.",
              "short", (f"{desired} or on () {healthy}", f"{label(VERSION)} desired"),
              (f"sum by ({VERSION}) ({selector(INSTANCE_HEALTHY, mesh, CHOSEN)}) or on () {healthy}",
               f"{label(VERSION)} healthy"),
              (bounds[0], f"{label(VERSION)} min"), (bounds[1], f"{label(VERSION)} max")),
        lines("Load by its target", f"Each metric of the policy by what is its target. Above {1 + TOLERANCE:.0%} there "
              f"are too few instances, below {1 - TOLERANCE:.0%} too many.", "percentunit",
              (or_zero(ratio, "metric", "no policy", mesh), f"{label(VERSION)} {label('metric')}")),
        lines("Changes in the last hour", "How often the number of instances was raised and lowered. Both often: the "
              "target is near a step, or stabilization_window too short.", "short",
              (or_zero(changes, "direction", "no change", mesh), f"{label(VERSION)} {label('direction')}")),
        lines("Not known", "Yes while a metric of the policy is not known. Then no instance is taken away; `legation "
              "status` says what is missing.", YES, (or_zero(blind, VERSION, "no policy", mesh), label(VERSION))),
        lines("Cores by instance", "Cores that each instance's app uses, on a host.", "short",
              (or_zero(used, INSTANCE_ID, "not known here", mesh), label(INSTANCE_ID))),
    )  # fmt: skip
