"""An instance whose xds_server is on another host: how it reaches it, and where others reach the instance."""

import asyncio
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certmgr.core.plan import IdentitySpec
from certmgr.sds import Secrets
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.runtime import locks
from legation.runtime.control import remote
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import TransitionResult
from legation.runtime.control.server import bind_tcp, reply
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest, until
from legation.sidecar.control import xds_server
from legation.sidecar.place import on_host
from legation.sidecar.settings import RunSettings
from tests.certmgr.authority import Authority
from tests.certmgr.world import ORDERS
from xds_server import serve

ADDRESS = f"127.214.{os.getpid() % 250}.1"


def settings(root: Path) -> RunSettings:
    spec = InstanceSpec("orders-v1-0", "orders", "v1", "", "")
    return RunSettings(spec, (f"127.215.{os.getpid() % 250}.1",), "x", 0, root, Path("envoy"))


def test_it_asks_over_mtls_with_its_services_identity(tmp_path: Path) -> None:
    authority, seen = Authority(time.time()), []
    server = authority.issue(IdentitySpec("x", "spiffe://shop.local/legation/xds-server", 600))

    async def take(request: Request) -> Response:
        await request.body()
        peer = remote.peer_of(request)
        seen.append(peer.spiffe_id if peer else None)
        return reply(TransitionResult())

    async def scene() -> None:
        identity: Latest[Identity | None] = Latest(Identity.of(server.chain_pem(), server.key_pem(), server.root_pem()))
        sock, secrets = bind_tcp("127.0.0.1:0"), Secrets("orders")
        secrets.show(authority.issue(ORDERS))
        given = replace(settings(tmp_path), control=f"127.0.0.1:{sock.getsockname()[1]}")
        given.state.make()
        async with (
            serve(secrets, address=given.state.sds("orders"), grace=0.1),
            remote.serve(sock, [Route("/instances/a/ready", take, methods=["POST"])], identity),
            xds_server(given) as client,
        ):

            async def answered() -> bool:
                try:
                    await client.send("POST", "/instances/a/ready", None, TransitionResult)
                except ControlError:
                    return False
                return True

            assert await until(answered, 20)
        assert set(seen) == {ORDERS.spiffe_id}

    asyncio.run(scene())


def test_others_reach_it_at_a_port_that_is_free_and_its_app_on_loopback(tmp_path: Path) -> None:
    with ExitStack() as held:
        first = on_host(replace(settings(tmp_path), advertise=ADDRESS), held).spec
        assert (first.address, first.port) == (ADDRESS, names.INBOUND_PORT)
        assert (first.loopback, first.own_address) == (settings(tmp_path).addresses * 2)
        second = replace(settings(tmp_path), advertise=ADDRESS, addresses=(f"127.215.{os.getpid() % 250}.2",))
        assert on_host(second, held).spec.port == names.SHARED_INBOUND_PORTS[0]
        third = replace(second, advertise=f"{ADDRESS}:15006", addresses=(f"127.215.{os.getpid() % 250}.3",))
        with pytest.raises(OSError, match="15006 to 15006 are taken, or it is not ours"):
            on_host(third, held)
    assert locks.is_free(ADDRESS, names.INBOUND_PORT)
