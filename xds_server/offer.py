"""`python -m xds_server.offer`: has the xds_server beside it apply a mesh file, once, and says what comes of it."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from legation.runtime import mesh_file
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import ApplyResult, MeshDocument
from legation.runtime.settings import load
from legation.runtime.tasks import pause

_FINDINGS, _UNREACHABLE = 3, 4
_LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """Has a mesh file applied by the xds_server beside it."""

    control: Path = field(metadata={"help": "xds_server's control socket"})
    mesh: Path = field(metadata={"help": "the mesh file"})
    wait: float = field(default=60.0, metadata={"help": "seconds that xds_server may take to answer"})


async def offer(settings: Settings) -> int:
    """Return 0 when the mesh is applied, 3 when it has violations, 4 when nobody answers."""
    document = MeshDocument(file=str(settings.mesh), text=mesh_file.read(settings.mesh))
    loop = asyncio.get_running_loop()
    ends = loop.time() + settings.wait
    while True:
        try:
            client = ControlClient(settings.control, 60.0)
            result = await client.send("PUT", "/mesh", document, ApplyResult)
        except ControlError as error:
            if error.status or loop.time() > ends:
                sys.stderr.write(f"{error}\n")
                return _UNREACHABLE
            await pause(_LOOK_EVERY)
        else:
            sys.stderr.write("".join(f"{violation}\n" for violation in result.violations))
            return _FINDINGS if result.violations else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(offer(load(Settings, "OFFER", sys.argv[1:], os.environ))))
