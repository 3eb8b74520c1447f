"""What people do to a mesh in docker compose while requests come in, and what came of those.

`python -m tests.compose.live.change [--rate 200] [--before 10] [--after 30] [--runs 1] [NAME...]` brings the shop up,
does each (or those named) under load, prints a line for each, and ends with 1 if a request failed.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.compose.live.project import Project, shop
from tests.support.load import Load, Mixed, Record, Report, Request
from tests.support.load_report import of_the_mesh
from tests.support.mesh import wait_for
from tests.support.steady import CONTROL_CONNECTIONS, CONTROL_RATE, control_server

UP = ("up", "-d", "--no-deps", "--wait")
Step = Callable[[Project], object]

MIX = Mixed(
    (
        Request("GET", "/proxy/catalog/items"),
        Request("GET", "/proxy/orders/hits?key=a"),
        Request("GET", "/proxy/catalog/items"),
    )
)
WRITES = Mixed((*MIX.requests, Request("POST", "/proxy/orders/hits?key=a")))
"""With what may not be repeated: whether an app that ends had taken it cannot be told over HTTP/1.1."""


def scale(service: str, count: int) -> Step:
    """Have so many containers of a service; those that are new are well when this returns."""

    def step(project: Project) -> None:
        project.compose("up", "-d", "--no-deps", "--no-recreate", "--wait", "--scale", f"{service}={count}", service)

    return step


def answers(service: str, count: int) -> Step:
    """Wait until so many of a service answer."""
    path, header = f"/proxy/{service}/healthz", f"x-{service}-instance"

    def found(project: Project) -> bool:
        return len({project.get(path).headers.get(header) for _ in range(4 * count)}) == count

    return lambda project: wait_for(f"{count} {service} answer", lambda: found(project), 30)


def compose(*words: str) -> Step:
    return lambda project: project.compose(*words)


def upgrade(variable: str, image: str, *services: str) -> Step:
    """Have services run another image: the same content under another name."""

    def step(project: Project) -> None:
        now = project.environment.get(variable) or os.environ.get(variable, image)
        then = f"{image}:after" if now.endswith(":next") else f"{image}:next"
        project.docker("tag", now, then)
        project.environment[variable] = then
        project.compose(*UP, *services)

    return step


def each(service: str, *words: str) -> Step:
    """Do something with each container of a service, one after the other."""

    def step(project: Project) -> None:
        for name in sorted(c.name for c in project.containers() if c.service == service):
            project.docker(*words, name)
            if "-sidecar" in service:
                project.healthy(name)

    return step


def second(service: str, *words: str) -> Step:
    return lambda project: project.docker(*words, f"{project.first(service).name[:-1]}2")


CHANGES: Mapping[str, tuple[Step, ...]] = {
    "scale-app-to-5-and-back": (scale("orders", 5), answers("orders", 5), scale("orders", 1), answers("orders", 1)),
    "restart-only-app": (compose("restart", "orders"), answers("orders", 1)),
    "stop-and-start-one-app": (
        scale("catalog", 2),
        answers("catalog", 2),
        second("catalog", "stop"),
        second("catalog", "start"),
        answers("catalog", 2),
        scale("catalog", 1),
    ),
    "upgrade-app": (upgrade("SHOP_IMAGE", "legation-shop", "catalog", "orders"),),
    "scale-sidecar-to-2-and-back": (scale("orders-sidecar", 2), scale("orders-sidecar", 1)),
    "restart-sidecars-one-by-one": (
        scale("catalog-sidecar", 2),
        each("catalog-sidecar", "restart", "-t", "60"),
        scale("catalog-sidecar", 1),
    ),
    "upgrade-only-sidecar": (upgrade("LEGATION_SIDECAR_IMAGE", "legation-sidecar", "catalog-sidecar"),),
    "restart-xds-server": (compose("restart", "legation-xds-server"),),
    "replace-xds-server": (compose(*UP, "--force-recreate", "legation-xds-server"),),
    "restart-certmgr": (compose("restart", "legation-certmgr"),),
    # sealed until the next `up`
    "restart-vault": (compose("restart", "legation-vault"), compose("up", "-d", "--wait", "--no-recreate")),
}


@dataclass(frozen=True)
class Outcome:
    """What came of a load, and of a light one meanwhile that meets no mesh."""

    report: Report
    control: Report

    @property
    def failures(self) -> tuple[Record, ...]:
        """What failed and is the mesh's: what the control suffered too is the machine's."""
        return of_the_mesh(self.report, self.control)

    def summary(self) -> str:
        """Return both reports, for people."""
        machine = (
            f", {excused} of them the machine's" if (excused := len(self.report.failures) - len(self.failures)) else ""
        )
        return f"{self.report.summary()}{machine}; control p99 {self.control.percentile(0.99) * 1000:.0f} ms"


def under_load(
    project: Project,
    *steps: Step,
    rate: float = 60,
    connections: int = 50,
    before: float = 3,
    after: float = 5,
    mix: Mixed = MIX,
) -> Outcome:
    """Take steps while requests come in; return what came of them."""

    async def scene(port: int) -> Outcome:
        control = Load(f"http://127.0.0.1:{port}", rate=CONTROL_RATE, connections=CONTROL_CONNECTIONS)
        async with control, Load(project.url, mix=mix, rate=rate, connections=connections) as load:
            await load.run_for(before)
            begun = time.monotonic()
            for step in steps:
                await asyncio.to_thread(step, project)
                sys.stdout.write(f"a step ended after {time.monotonic() - begun:.1f} s\n")
            await load.run_for(after)
        return Outcome(load.report, control.report)

    with control_server() as port:
        return asyncio.run(scene(port))


@contextmanager
def _attached(name: str) -> Iterator[Project]:
    if not name:
        with shop() as made:
            yield made
    else:
        yield Project(int(name))


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--rate", type=float, default=200)
    words.add_argument("--before", type=float, default=10)
    words.add_argument("--after", type=float, default=30)
    words.add_argument("--runs", type=int, default=1)
    words.add_argument("--port", default="", help="of a gateway that is up; without it the shop is brought up")
    words.add_argument("--writes", action="store_true", help="with POST, one request in four")
    words.add_argument("names", nargs="*", metavar="NAME", help=" ".join(CHANGES))
    given = words.parse_args()
    failed = 0
    with _attached(given.port) as project:
        for name in given.names or CHANGES:
            for _ in range(given.runs):
                outcome = under_load(
                    project,
                    *CHANGES[name],
                    rate=given.rate,
                    before=given.before,
                    after=given.after,
                    mix=WRITES if given.writes else MIX,
                )
                failed += len(outcome.failures)
                sys.stdout.write(f"{name}: {outcome.summary()}\n")
                sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
