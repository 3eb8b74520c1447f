"""What an Envoy knows of our configuration, found by asking it: its version, and what it says to a part."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.echo.v3.echo_pb2 import Echo

from xds_server.compile.address import tcp
from xds_server.compile.http1_lines import http1_lines
from xds_server.compile.older import HTTP1_LINES, lacking
from xds_server.compile.pack import pack, serialize
from xds_server.prove.envoy import NoVerdict, validate

_VERSION = re.compile(r"version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)")
_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """An Envoy's version, as people write it, and the parts that it lacks (`xds_server.compile.older`)."""

    version: str
    lacks: tuple[str, ...]


async def capabilities(envoy: Path) -> Capabilities:
    """Return what an Envoy knows. NoVerdict where it is none, or does not answer."""
    major, minor, patch = await _version(envoy)
    lacks = lacking((major, minor), ())
    if HTTP1_LINES.name not in lacks and not await _takes_lines(envoy):
        lacks = (HTTP1_LINES.name, *lacks)
    return Capabilities(f"{major}.{minor}.{patch}", lacks)


async def _version(envoy: Path) -> tuple[int, int, int]:
    try:
        process = await asyncio.create_subprocess_exec(
            *(envoy, "--version"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(_LIMIT):
            said, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise NoVerdict(f"{envoy} does not say its version: {error or 'it does not end'}") from None
    found = _VERSION.search(said.decode(errors="replace"))
    if found is None:
        raise NoVerdict(f"{envoy} is no Envoy: it does not say a version")
    return int(found[1]), int(found[2]), int(found[3])


async def _takes_lines(envoy: Path) -> bool:
    """Say whether it runs WebAssembly: some builds know the filter, and have nothing to run it with."""
    chain = FilterChain(filters=[http1_lines(), Filter(name="envoy.filters.network.echo", typed_config=pack(Echo()))])
    proto = Bootstrap(node=Node(id="prove", cluster="prove"))
    proto.static_resources.listeners.append(Listener(name="lines", address=tcp("127.0.0.1", 1), filter_chains=[chain]))
    with TemporaryDirectory(prefix="legation-prove-") as folder:
        words = await validate(envoy, serialize(proto), Path(folder))
    return words is None
