"""An identity's socket: what else may be in its place, who may open it, and what many clients cost."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from certmgr.sds import Secrets
from legation.mesh import names
from legation.runtime.identity import METHOD, Identity, follow
from legation.runtime.secrets_wire import SECRET_TYPE
from legation.runtime.tasks import Latest, until
from tests.certmgr.authority import Authority
from tests.certmgr.world import ORDERS
from xds_server import serve

NOBODY = 65534


def live(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_link_to_a_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("mine")
    path.symlink_to(other)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_link_to_a_live_socket(path: Path) -> socket.socket:
    held = live(path.with_name("other"))
    path.symlink_to(path.with_name("other"))
    return held


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [live, a_file, a_link_to_a_file, a_link_to_nothing, a_link_to_a_live_socket, a_folder])
def test_attack_11_what_is_in_the_place_of_a_socket_stays(tmp_path: Path, put: Callable[[Path], object]) -> None:
    path = tmp_path / "sds-orders.sock"
    held = put(path)
    before = (path.lstat().st_ino, path.lstat().st_mode)

    async def scene() -> None:
        async with serve(Secrets("orders"), address=path, grace=0.1):
            raise AssertionError("it is served")

    with pytest.raises(OSError, match="sds-orders"):
        asyncio.run(scene())
    assert (path.lstat().st_ino, path.lstat().st_mode) == before
    if isinstance(held, socket.socket):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        held.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, so that the socket's own mode decides."""
    folder = Path(tempfile.mkdtemp(prefix="legation-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_attack_10_another_users_process_cannot_open_the_socket(open_folder: Path) -> None:
    """The kernel refuses it before a byte is read; whose it is goes on. (Only root can try it as somebody else.)"""
    path = open_folder / "sds-orders.sock"
    drop = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    code = f"import os, socket, sys; {drop}; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

    async def scene() -> None:
        secrets = Secrets("orders")
        secrets.show(Authority(time.time()).issue(ORDERS))
        async with serve(secrets, address=path, grace=0.1):
            assert path.stat().st_mode & 0o777 == 0o600
            if os.geteuid() == 0:
                argv = [sys.executable, "-I", "-c", code, str(path)]
                done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
                assert b"PermissionError" in done.stderr
            await _identity(path)

    asyncio.run(scene())


async def _identity(path: Path) -> Identity:
    latest: Latest[Identity | None] = Latest(None)
    following = asyncio.ensure_future(follow(path, "test", latest))
    try:
        async with asyncio.timeout(20):
            async for found in latest.watch():
                if found is not None:
                    return found
    finally:
        following.cancel()
    raise AssertionError


STREAMS, ROTATIONS, MEMORY = 1000, 10, 64 << 20


def test_attack_12_a_thousand_streams_that_never_ack_cost_little_and_hold_nobody_up(tmp_path: Path) -> None:
    path, authority = tmp_path / "sds.sock", Authority(time.time())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]

    async def scene() -> None:
        secrets = Secrets("orders")
        secrets.show(authority.issue(ORDERS))

        async def all_open() -> bool:
            return secrets.streams == STREAMS

        async with (
            serve(secrets, address=path, grace=0.1),
            grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel,
        ):
            mute = []
            for number in range(STREAMS):
                call = channel.stream_stream(
                    METHOD,
                    request_serializer=DeltaDiscoveryRequest.SerializeToString,
                    response_deserializer=DeltaDiscoveryResponse.FromString,
                )()
                asked = DeltaDiscoveryRequest(type_url=SECRET_TYPE, resource_names_subscribe=[names.MESH_CERT])
                asked.node.id = f"mute-{number}"
                await call.write(asked)
                mute.append(call)
            assert await until(all_open, 60)
            before = psutil.Process().memory_info().rss
            for _ in range(ROTATIONS):
                newest = authority.issue(ORDERS)
                secrets.show(newest)
                assert (await _identity(path)).serial == newest.serial
            grown = psutil.Process().memory_info().rss - before
            assert grown < MEMORY
            for call in mute:
                call.cancel()

    asyncio.run(scene())
