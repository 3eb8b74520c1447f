"""The doctor's request through real Envoys, in a real Prometheus, Jaeger and Loki; and with each link broken."""

import asyncio
import secrets
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import dashboards.render
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime.clock import WallClock
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import TelemetryStatus
from legation.runtime.control.server import bind_tcp, running
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from telemetry.doctor.examine import Words, examine, tags
from telemetry.doctor.finding import Diagnosis, Hop
from telemetry.doctor.gateway import through_the_gateway
from telemetry.doctor.hop import NoHop, choose, counted
from telemetry.doctor.links import Counted, Sent, logs, receiver
from telemetry.rules import render as telemetry_rules
from telemetry.service import run
from telemetry.settings import Settings
from tests.support.jaeger import jaeger
from tests.support.loki import loki
from tests.support.mesh import PLAIN
from tests.support.promql import all_answered
from tests.telemetry.fleet import Fleet
from tests.telemetry.registry import MESH, Registry, instance
from tests.telemetry.test_real_prometheus import LIMIT, PROMETHEUS, answers, is_ready, prometheus
from tests.xds_server.compile.fleet import address
from tests.xds_server.compile.test_external import certificate
from tests.xds_server.serve.envoy import app, free_port

WEB, ORDERS = address(64), address(65)
TEXT = """
mesh: shop
trust_domain: shop.local
tracing: {otlp: {host: 127.0.0.1, port: OTLP}, sampling: 100}
logging: {otlp: {url: LOKI}}
services:
  web: {protocol: http, port: 8080, calls: [orders], expose: {port: 8080, hosts: ["*.shop.example"]}}
  orders: {protocol: http, port: 8080}
"""
PORTS = names.outbound_ports(["orders"], {})


def node(service: str, at: str, app_port: int) -> InstanceSpec:
    ports = PORTS if service == "web" else {}
    return InstanceSpec(
        f"{service}-v1-0", service, "v1", "1", at, names.INBOUND_PORT,
        app_port=app_port, metrics_port=names.METRICS_PORT, outbound_ports=ports,
    )  # fmt: skip


def gateway() -> InstanceSpec:
    ports = {"web": free_port()}
    at = names.GATEWAY, "v1", "1", address(66), names.INBOUND_PORT
    return InstanceSpec("gateway-0", *at, metrics_port=names.METRICS_PORT, outbound_ports=ports)


@dataclass
class World:
    """A caller and a callee, and all that measures them."""

    mesh: Mesh
    fleet: Fleet
    telemetry: ControlClient
    registry: Registry
    urls: dict[str, str]

    async def look(self, wait: float = 20, prometheus: str | None = "", jaeger: str = "") -> Diagnosis:
        ids = Words(
            secrets.token_hex(16),
            str(uuid.uuid4()),
            wait=wait,
            prometheus=self.urls["prometheus"] if prometheus == "" else prometheus,
            jaeger=jaeger or self.urls["jaeger"],
        )
        return await examine(self.mesh, self.fleet.instances(), self.telemetry, ids)


def states(found: Diagnosis) -> dict[str, str]:
    return {finding.link: finding.state for finding in found.findings}


def broken(found: Diagnosis) -> dict[str, str]:
    """What was seen at the links that are broken; each of them says what to do."""
    assert all(finding.fix for finding in found.findings if finding.state == "broken")
    return {finding.link: finding.said for finding in found.findings if finding.state == "broken"}


def said(found: Diagnosis, link: str) -> str:
    return next(finding.said for finding in found.findings if finding.link == link)


@asynccontextmanager
async def telemetry(registry: Registry, folder: Path, state: StateFolder) -> AsyncIterator[ControlClient]:
    settings = Settings(control=state.control("telemetry"), xds_control=folder / "xds.sock", port=0, state=state.root)
    async with registry.serving(settings.xds_control):
        task = asyncio.ensure_future(run(settings, WallClock()))
        client = ControlClient(settings.control)
        try:
            assert await until(lambda: is_ready(client), LIMIT)
            yield client
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.timeout(600)
@pytest.mark.skipif(not PROMETHEUS, reason="no prometheus on the PATH: apt-get install prometheus")
def test_all_is_well_and_each_broken_link_is_named_with_its_fix(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            (tmp_path / "loki").mkdir()
            traces, team = await asyncio.gather(
                asyncio.to_thread(stack.enter_context, jaeger(tmp_path)),
                asyncio.to_thread(stack.enter_context, loki(tmp_path / "loki")),
            )
            text = TEXT.replace("OTLP", str(traces.otlp)).replace("LOKI", team.otlp)
            state = StateFolder(tmp_path / "state")
            state.make()
            web, orders = [await stack.enter_async_context(app(name)) for name in ("web", "orders")]
            nodes = [node("web", WEB, web), node("orders", ORDERS, orders), gateway()]
            fleet = Fleet(text, nodes, tmp_path, state.logs_socket)
            registry = Registry(*fleet.instances(), mesh=text)
            client = await stack.enter_async_context(telemetry(registry, tmp_path, state))
            await stack.enter_async_context(fleet.running())
            assert await until(lambda: answers(f"http://{WEB}:{PORTS['orders']}/"), LIMIT), "no request came through"
            url = (await client.get("/status", TelemetryStatus)).discovery_url
            there = await stack.enter_async_context(prometheus(tmp_path, fleet, url))
            world = World(fleet.mesh, fleet, client, registry, {"prometheus": there, "jaeger": traces.query})

            silent = f"http://127.0.0.1:{free_port()}"
            changes = ("tracing:", "# tracing:"), ("mesh: shop", "mesh: other"), ("{otlp", "{mode: server, otlp")
            untraced, other, one_end = (load(text.replace(*change, 1), "mesh.yaml").mesh for change in changes)
            well, deaf, blind, strange, served = await asyncio.gather(
                world.look(40),
                world.look(40, prometheus=silent),
                world.look(40, jaeger=silent),
                replace(world, mesh=other).look(3),
                replace(world, mesh=one_end).look(40),
            )
            assert broken(well) == {}
            assert set(states(well).values()) == {"ok"}
            assert well.hop is not None
            assert (well.hop.instance, well.hop.destination) == ("web-v1-0", "orders")
            assert [said(found, "traces").split(" of ")[1] for found in (well, served)] == ["orders and web", "orders"]
            assert "and Jaeger has its trace" in said(well, "gateway")
            assert "its trace was not looked for" in said(blind, "gateway")
            assert list(broken(deaf)) == ["prometheus"]
            assert "does not answer" in broken(deaf)["prometheus"]
            assert list(broken(blind)) == ["traces"]
            assert "has no target web-v1-0" in broken(strange)["prometheus"]
            assert "records no" in broken(strange)["rules"]

            others = set(queries_of(untraced))
            traced = [query for query in queries_of(fleet.mesh) if query not in others]
            assert await until(lambda: asyncio.to_thread(all_answered, there, traced), LIMIT), traced

            before = registry.instances.value
            registry.instances.set(type(before)(instances=before.instances[1:]))
            assert await until(lambda: gone(url), LIMIT)
            team.hang()
            traces.hang()
            alone = replace(world, telemetry=ControlClient(tmp_path / "none.sock"))
            bare = replace(world, mesh=load(MESH.replace("tracing:", "# tracing:").replace("grpc", "http"), "m").mesh)
            hung, unheard, off = await asyncio.gather(world.look(8), alone.look(1), bare.look(3, prometheus=None))
            traces.kill()
            # Prometheus forgets it with the list, sooner or later
            assert set(broken(hung)) - {"prometheus"} == {"discovery", "traces", "log receiver"}
            assert {"logs", "discovery", "gateway"} <= set(broken(unheard))
            seen = states(off)
            assert (seen["prometheus"], seen["rules"], seen["traces"], seen["log receiver"]) == ("off",) * 4

    asyncio.run(main())


def queries_of(mesh: Mesh) -> list[tuple[str, str]]:
    return telemetry_rules.queries(mesh) + dashboards.render.queries(mesh)


@pytest.mark.parametrize("link", ["logs", "log receiver"])
def test_a_log_that_keeps_nothing_is_named_by_its_setting(tmp_path: Path, link: str) -> None:
    mesh = load(
        TEXT.replace("OTLP", "1").replace("{otlp: {url: LOKI}}", "{sampling: 0, otlp: {url: 'http://l/otlp/v1/logs'}}"),
        "m",
    ).mesh
    count = Counted(0, 0, 0)
    hop = Hop(instance="web", source="web", destination="orders", address="a", port=1, metrics=("a", 2))
    sent = Sent("shop", hop, *tags(mesh, lambda: ("t", "r")), count, count)
    nobody = ControlClient(tmp_path / "none.sock")

    async def nothing_lost() -> float:
        return 0

    look = {
        "logs": logs(sent, mesh.logging, nobody, 1, nothing_lost),
        "log receiver": receiver(sent, mesh.logging, nobody, 1),
    }
    found = asyncio.run(look.pop(link))
    look.popitem()[1].close()
    assert (found.link, found.state) == (link, "off")
    assert "logging.sampling is 0" in found.said


async def gone(url: str) -> bool:
    async with httpx.AsyncClient(verify=PLAIN) as client:
        return "web-v1-0" not in (await client.get(url)).text


def test_a_hop_is_one_that_the_mesh_has_and_this_host_can_take() -> None:
    mesh = load(MESH, "mesh.yaml").mesh
    web = instance(service="web", outbound_ports={"orders": 15100})
    hop = choose(mesh, [instance(2, "web"), web])
    assert (hop.instance, hop.destination, hop.port, hop.metrics) == ("web-v1-1", "orders", 15100, ("127.0.1.1", 15090))
    for instances, words, why in (
        ([web], ("orders", ""), "no call from orders"),
        ([web], ("web", "mail"), "no call from web to mail"),
        ([instance(service="web", outbound_ports={"orders": 1}, connected=False)], ("", ""), "no instance of web"),
        ([], ("", ""), "no instance of web is connected"),
    ):
        with pytest.raises(NoHop, match=why):
            choose(mesh, instances, *words)


def test_what_a_proxy_shows_is_read_by_name_and_label() -> None:
    text = 'a_total{x="1"} 2\na_total{x="2"} 3\na_total_more{x="1"} 9\nb 4\n'
    assert (counted(text, "a_total"), counted(text, "a_total", 'x="2"'), counted(text, "b")) == (5, 3, 4)
    assert counted(text, "c") is None


@pytest.mark.parametrize(
    ("expose", "service", "state", "why"),
    [
        ("", names.GATEWAY, "off", "exposes nothing"),
        (", expose: {port: 8080}", "web", "unknown", "no gateway is connected"),
        (", expose: {port: 8080}", names.GATEWAY, "broken", "does not answer"),
    ],
    ids=["nothing exposed", "no gateway here", "a gateway that is away"],
)
def test_a_gateway_that_cannot_be_asked_is_said(
    tmp_path: Path, expose: str, service: str, state: str, why: str
) -> None:
    text = f"mesh: m\ntrust_domain: m.local\nservices: {{web: {{protocol: http, port: 8080{expose}}}}}\n"
    known = [instance(service=service, outbound_ports={"web": free_port()})]
    asked = through_the_gateway(load(text, "m").mesh, known, ControlClient(tmp_path / "none.sock"), "a" * 32, None, 1)
    found = asyncio.run(asked)
    assert (found.state, why in found.said) == (state, True), found


def test_a_gateway_behind_tls_is_asked_by_the_name_that_clients_use(tmp_path: Path) -> None:
    made, named = certificate(tmp_path), list[str]()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, tmp_path / "outside.key")
    context.sni_callback = lambda _, name, __: named.append(name)
    tls = "tls: {cert: c.pem, key: k.pem}"
    text = f"mesh: m\ntrust_domain: m.local\nservices: {{web: {{protocol: http, port: 80, expose: {{port: 1, {tls}, "

    async def take(request: Request) -> Response:
        named.append(request.headers["host"])
        return Response(status_code=204)

    async def main() -> None:
        port, nobody = free_port(), ControlClient(tmp_path / "none.sock")
        mesh = load(text + 'hosts: ["*.shop.example"]}}}\n', "m").mesh
        known = [instance(service=names.GATEWAY, outbound_ports={"web": port})]
        async with running([bind_tcp(f"127.0.0.1:{port}")], [Route("/", take)], tls=context):
            found = await through_the_gateway(mesh, known, nobody, "a" * 32, None, 1)
        assert "telemetry" in found.said
        assert named == ["legation-doctor.shop.example", f"legation-doctor.shop.example:{port}"]

    asyncio.run(main())


def test_an_envoy_that_hangs_is_named(tmp_path: Path) -> None:
    """Nothing listens where the registry says that it does."""

    async def main() -> None:
        mesh = load(MESH, "mesh.yaml").mesh
        web = instance(service="web", outbound_ports={"orders": free_port()}, metrics_port=free_port(), address=WEB)
        words = Words(trace=secrets.token_hex(16), request="r")
        found = await examine(mesh, [web], ControlClient(tmp_path / "none.sock"), words)
        assert list(broken(found)) == ["request"]
        assert list(broken(await examine(mesh, [], ControlClient(tmp_path / "none.sock"), words))) == ["request"]

    asyncio.run(main())
