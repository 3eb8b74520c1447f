"""`python -m bench.run [NAME]`: runs one bench, or all; each case is one line of JSON on stdout, all else on stderr."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping

from bench import (
    apply_mesh,
    certs,
    certs_fleet,
    compile_change,
    compose,
    dataplane,
    fanout,
    footprint,
    handover,
    instructions,
    log_intake,
    parts,
    sidecar_memory,
    telemetry,
)
from bench.program import Broken
from bench.report import Figure

SECONDS, FULL_SECONDS = 15.0, 60.0
"""How long a case of fanout measures, at most about; footprint looks at what rests for twice as long."""


async def _fanout(streams: int, seconds: float) -> AsyncIterator[Figure]:
    for figure in compile_change.figures():
        yield figure
    async for figure in fanout.figures(fanout.SHAPES if not streams else (fanout.small(streams),), seconds):
        yield figure


async def _handover(_: int, seconds: float) -> AsyncIterator[Figure]:
    async for figure in handover.figures(3 if seconds < FULL_SECONDS else 10):
        yield figure


async def _footprint(_: int, seconds: float) -> AsyncIterator[Figure]:
    async for figure in footprint.figures(2 * seconds, 3 if seconds < FULL_SECONDS else 10):
        yield figure


async def _apply(_: int, __: float) -> AsyncIterator[Figure]:
    async for figure in apply_mesh.figures():
        yield figure


async def _dataplane(_: int, seconds: float) -> AsyncIterator[Figure]:
    only = os.environ.get("CASES", "")
    async for figure in dataplane.figures(2 if seconds < FULL_SECONDS else 5, only):
        yield figure
    async for figure in parts.figures(only):
        yield figure
    if not only:
        yield await sidecar_memory.figure()


async def _instructions(_: int, __: float) -> AsyncIterator[Figure]:
    async for figure in instructions.figures(os.environ.get("CASES", "")):
        yield figure


async def _certs(_: int, __: float) -> AsyncIterator[Figure]:
    if os.environ.get("CASES", "") != "fleet":
        async for figure in certs.figures():
            yield figure
    async for figure in certs_fleet.figures():
        yield figure


async def _telemetry(_: int, seconds: float) -> AsyncIterator[Figure]:
    async for figure in telemetry.figures(2 if seconds < FULL_SECONDS else 5):
        yield figure
    yield await log_intake.figure()


async def _compose(_: int, seconds: float) -> AsyncIterator[Figure]:
    async for figure in compose.figures(seconds / 2, 2 if seconds < FULL_SECONDS else 5):
        yield figure


BENCHES: Mapping[str, Callable[[int, float], AsyncIterator[Figure]]] = {
    "fanout": _fanout,
    "handover": _handover,
    "footprint": _footprint,
    "apply": _apply,
    "certs": _certs,
    "dataplane": _dataplane,
    "instructions": _instructions,
    "telemetry": _telemetry,
    "compose": _compose,
}


async def run(only: str, streams: int, seconds: float) -> None:
    """Print the figures of one bench, or of all."""
    for name in [only] if only else BENCHES:
        async for figure in BENCHES[name](streams, seconds):
            print(figure.line(), flush=True)


def main() -> int:
    """Run what the command line asks for. A missed goal is a figure too (0); 1 is for what could not be measured."""
    full = os.environ.get("FULL") == "1"
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("only", nargs="?", default="", choices=["", *BENCHES], help="one bench (default: all)")
    parser.add_argument("--streams", type=int, default=0, help="fanout: so many streams, one case")
    arguments = parser.parse_args()
    try:
        asyncio.run(run(arguments.only, arguments.streams, FULL_SECONDS if full else SECONDS))
    except Broken as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
