"""What people do to a mesh in docker compose while requests come in, and what came of those.

`python -m tests.compose.live.change [--rate 200] [--before 10] [--after 30] [--runs 1] [NAME...]` brings the shop up,
does each (or those named) under load, prints a line for each, and ends with 1 if a request failed.
"""

import argparse
import asyncio
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ruamel.yaml import YAML

from tests.compose.live.project import ROOT, Project, shop
from tests.support.load import Load, Mixed, Record, Report, Request
from tests.support.load_report import KEPT, of_the_mesh
from tests.support.mesh import wait_for
from tests.support.steady import CONNECTIONS, CONTROL_CONNECTIONS, CONTROL_RATE, RATE, control_server

LEAST = 40
"""Requests a second of a load on the slowest machine."""
AT_EASE = 0.25
"""Seconds that all but one in a hundred requests take at most where a machine has room for docker's work too."""

UP = ("up", "-d", "--no-deps", "--wait")
Step = Callable[[Project], object]

MIX = Mixed(
    (
        Request("GET", "/proxy/catalog/items"),
        Request("GET", "/proxy/orders/hits?key=a"),
        Request("GET", "/proxy/catalog/items"),
    )
)
WRITES = Mixed((*MIX.requests, Request("POST", "/orders", b"{}", {"content-type": "application/json"})))
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


SECOND = [word for name in ("", ".override", ".second-gateway") for word in ("-f", f"docker-compose{name}.yaml")]
"""The files that have a second gateway, at the port SHOP_SECOND_PORT."""


@contextmanager
def handed_over(project: Project, to: str) -> Iterator[None]:
    """Have this host lead new connections to the gateway's port to another one, while the block runs."""
    # of this host's own addresses: on a bridge the rules may meet what goes from container to container too
    rule = ("-p", "tcp", "--dport", str(project.port), "-m", "addrtype", "--dst-type", "LOCAL")

    def rules(do: str) -> None:
        for chain in ("PREROUTING", "OUTPUT"):  # from other hosts, and from this one
            project.run("iptables", "-t", "nat", do, chain, *rule, "-j", "REDIRECT", "--to-ports", to)

    rules("-I")
    try:
        yield
    finally:
        rules("-D")


def replace_gateway(project: Project) -> None:
    """Make the gateway anew, while a second one has its port."""
    second = project.environment["SHOP_SECOND_PORT"] = str(project.free_port())
    project.compose(*SECOND, *UP, "legation-gateway-2")
    with handed_over(project, second):
        project.compose(*SECOND, *UP, "--force-recreate", "legation-gateway")
    project.compose(*SECOND, "rm", "-fs", "legation-gateway-2")


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
    "replace-gateway": (replace_gateway,),
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
    retried: int = 0
    """What Envoys tried again in that time."""

    @property
    def failures(self) -> tuple[Record, ...]:
        """What failed and is the mesh's: what the control suffered too is the machine's."""
        return of_the_mesh(self.report, self.control)

    def summary(self) -> str:
        """Return both reports, for people."""
        machine = (
            f", {excused} of them the machine's" if (excused := len(self.report.failures) - len(self.failures)) else ""
        )
        return (
            f"{self.report.summary()}{machine}; {self.retried} tried again by Envoys; "
            f"control p99 {self.control.percentile(0.99) * 1000:.0f} ms"
        )


def under_load(
    project: Project,
    *steps: Step,
    rate: float = RATE,
    connections: int = CONNECTIONS,
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

    before_all = project.retried()
    with control_server() as port:
        outcome = asyncio.run(scene(port))
    rises = (_rise(before_all.get(name, 0), now) for name, now in project.retried().items())
    return replace(outcome, retried=sum(rises))


def _rise(before: int, now: int) -> int:
    """Return what a counter has risen by; an Envoy that was started anew counts from 0."""
    return now - before if now >= before else now


def borne(project: Project) -> float:
    """Return the rate for this machine: 200 requests a second where it bears that, else half of what it bears.

    The other half is for docker, which starts and ends containers on the same processors.
    """

    async def trial() -> Report:
        async with Load(project.url, mix=MIX, rate=RATE, connections=CONNECTIONS) as load:
            await load.run_for(2)
        return load.report

    report = asyncio.run(trial())
    ended = report.total / (max(r.end for r in report.records) - min(r.start for r in report.records))
    bears = ended >= KEPT * RATE and report.percentile(0.99) < AT_EASE and not report.failures
    return RATE if bears else max(LEAST, round(ended / 2))


def without_retries(text: str) -> str:
    """Return a mesh with no retry on any route."""
    yaml, written = YAML(), io.StringIO()
    mesh = yaml.load(text)
    for service in mesh["services"].values():
        if service["protocol"] != "tcp":
            service["routes"] = [{**route, "retry": {"num_retries": 0}} for route in service.get("routes", [{}])]
    yaml.dump(mesh, written)
    return written.getvalue()


@contextmanager
def _attached(name: str) -> Iterator[Project]:
    if not name:
        with shop() as made:
            yield made
    else:
        yield Project(int(name))


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--rate", type=float, default=RATE)
    words.add_argument("--before", type=float, default=10)
    words.add_argument("--after", type=float, default=30)
    words.add_argument("--runs", type=int, default=1)
    words.add_argument("--port", default="", help="of a gateway that is up; without it the shop is brought up")
    words.add_argument("--writes", action="store_true", help="with POST, one request in four")
    words.add_argument("--no-retries", action="store_true", help="with no retry in the mesh: for what needs none")
    words.add_argument("names", nargs="*", metavar="NAME", help=" ".join(CHANGES))
    given = words.parse_args()
    failed = 0
    with _attached(given.port) as project:
        if given.no_retries:
            project.apply(without_retries((ROOT / "compose/mesh.yaml").read_text()))
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
