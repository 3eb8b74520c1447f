"""What proxies really show: a real handshake, and what is said of one that shows another certificate."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from certmgr.core.plan import IdentitySpec
from certmgr.metrics import Metrics
from certmgr.wire import Wire, loaded_by, newest
from legation.mesh.instance import InstanceSpec
from legation.runtime.control import server
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import Instance
from legation.runtime.control.mtls import server_context, shown_by
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from tests.certmgr.authority import Authority
from tests.certmgr.bao import free_port

CA = Authority(time.time())
ORDERS = IdentitySpec("orders", "spiffe://shop.local/orders", 3600)


def identity() -> Identity:
    bundle = CA.issue(ORDERS)
    return Identity.of(bundle.chain_pem(), bundle.key_pem(), bundle.root_pem())


def instance(port: int, service: str = "orders") -> Instance:
    spec = InstanceSpec(f"{service}-1", service, "v1", "boot", "127.0.0.1", port=port)
    return Instance(spec=spec, state="ready", healthy=True, connected=True, synced=True, spiffe_id="")


@asynccontextmanager
async def proxy(shows: Identity):
    async def nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=server_context(Latest(shows)))
    async with server:
        yield server.sockets[0].getsockname()[1]


def wire(meant: Latest[Identity | None], metrics: Metrics, tmp_path) -> Wire:
    loaded = loaded_by(lambda name: tmp_path / f"{name}.sock")
    return Wire(ControlClient(tmp_path / "none.sock"), lambda _: meant.value, tuple, metrics, 0, loaded)


def test_a_proxy_that_shows_another_certificate_is_named_at_the_second_look(tmp_path):
    async def main():
        old, new = identity(), identity()
        meant: Latest[Identity | None] = Latest(old)
        metrics = Metrics(CollectorRegistry())
        here = wire(meant, metrics, tmp_path)
        async with proxy(old) as port:
            assert await shown_by("127.0.0.1", port, new, 5) == old.serial
            await here.examine([instance(port)])
            assert here.problems == {}
            meant.set(new)
            await here.examine([instance(port)])
            assert here.problems == {}, "it may be about to take it"
            await here.examine([instance(port)])
            assert here.problems == {
                "orders": f"orders-1 shows {old.serial} on the wire and not {new.serial}: restart its proxy"
            }
            assert metrics.registry.get_sample_value("certmgr_wire_wrong", {"identity": "orders"}) == 1
            meant.set(old)
            await here.examine([instance(port)])
            assert here.problems == {}
            assert metrics.registry.get_sample_value("certmgr_wire_wrong", {"identity": "orders"}) == 0
            assert metrics.registry.get_sample_value("certmgr_wire_looks_total", {"outcome": "right"}) == 2

    asyncio.run(main())


@pytest.mark.parametrize("service", ["sessions", "legation-gateway"])
def test_a_proxy_of_tcp_and_the_gateway_are_asked_what_they_have_put_in_use(tmp_path, service):
    """A connection to the first would reach its app, and the second shows its certificate to nobody here."""

    async def main():
        meant = identity()
        metrics = Metrics(CollectorRegistry())
        here = wire(Latest(meant), metrics, tmp_path)
        here.asked = frozenset({"sessions"})
        said = {"certificates": [{"cert_chain": [leaf("0a", "2030-01-01T00:00:00Z")]}]}

        async def certs(_: Request) -> Response:
            return JSONResponse(said)

        sock = server.bind_unix(tmp_path / f"{service}-1.sock")
        async with server.serve([sock], [Route("/certs", certs)]):
            one = instance(free_port(), service)
            for _ in range(2):
                await here.examine([one])
            assert "shows 0a in use and not" in here.problems[service]
            said["certificates"].append({"cert_chain": [leaf(meant.serial, "2031-01-01T00:00:00Z")]})
            await here.examine([one])
            assert here.problems == {}
            said["certificates"].clear()
            for _ in range(2):
                await here.examine([one])
            assert "shows none in use" in here.problems[service]

    asyncio.run(main())


def leaf(serial: str, ends: str) -> dict[str, Any]:
    return {"serial_number": serial, "expiration_time": ends, "subject_alt_names": [{"uri": ""}]}


def test_only_leaves_of_its_own_identity_count():
    other = {**leaf("0b", "2032-01-01T00:00:00Z"), "subject_alt_names": [{"dns": "a"}]}
    assert newest({"certificates": [{"cert_chain": [other, leaf("A", "2030-01-01T00:00:00Z")]}]}, "") == "0a"


def test_who_is_not_there_or_should_show_something_else_is_not_wrong(tmp_path):
    async def main():
        metrics = Metrics(CollectorRegistry())
        here = wire(Latest(identity()), metrics, tmp_path)
        here.asked = frozenset({"sessions"})
        async with proxy(identity()) as port:
            for _ in range(2):
                await here.examine(
                    [instance(free_port()), instance(port, "legation-gateway"), instance(port, "sessions")]
                )
        assert here.problems == {}
        assert metrics.registry.get_sample_value("certmgr_wire_looks_total", {"outcome": "unreached"}) == 6
        assert metrics.registry.get_sample_value("certmgr_wire_looks_total", {"outcome": "wrong"}) == 0

    asyncio.run(main())
