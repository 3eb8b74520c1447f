"""What a part of every sidecar costs a request: the same two with it and without, in CPU time.

CPU time says something on a busy machine too, where a clock does not; so rounds are many and short.
"""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import sidecars, traffic_mesh
from bench.dataplane import Side, answers, load_of
from bench.h2load import INSTALL
from bench.report import Figure
from legation.mesh.instance import Log

ROUNDS, SECONDS = 15, 1
_TRACED = f"tracing: {{otlp: {{host: {sidecars.address(0)}, port: {sidecars.APP_PORT}}}, sampling: 1}}\n"
Started = dict[str, Any]
"""What an Envoy starts with."""


@dataclass(frozen=True, slots=True)
class Part:
    """What its mesh says more, and what is left out of each Envoy with it and without."""

    says: str
    kept: Callable[[Started], Started]
    left_out: Callable[[Started], Started]
    log: Log = "stdout"


async def figures(only: str) -> AsyncIterator[Figure]:
    """Yield a figure a part and protocol; `only` is a pattern of `<part>-<protocol>`."""
    for part in PARTS:
        for protocol in traffic_mesh.PROTOCOLS:
            if fnmatch(f"{part}-{protocol}", only or "*"):
                yield await _cost(part, protocol)


async def _cost(part: str, protocol: str) -> Figure:
    case = f"{part}-{protocol}-cost"
    if not shutil.which("h2load"):
        return Figure("dataplane", case, "us", [], [], None, INSTALL)
    known, plain = PARTS[part], traffic_mesh.text((), protocol)
    with TemporaryDirectory() as name:
        async with AsyncExitStack() as stack:
            folder = Path(name)
            (folder / "without").mkdir()
            await stack.enter_async_context(sidecars.app(folder, "{}"))
            having = sidecars.ours(folder, plain + known.says, change=known.kept, log=known.log)
            lacking = sidecars.ours(folder / "without", plain, slot=4, change=known.left_out)
            pairs = [await stack.enter_async_context(pair) for pair in (having, lacking)]
            asked = traffic_mesh.headers(protocol, "none")
            ours, peer = (Side(pair, load_of(folder, pair, protocol, asked)) for pair in pairs)
            for side in (ours, peer):
                await answers(side)
            for _ in range(ROUNDS):
                for side in (ours, peer):
                    await side.most(SECONDS)
    least = f"the least of {ROUNDS} rounds {min(ours.costs):.1f}, without {min(peer.costs):.1f}"
    note = f"CPU of two sidecars a request, the peer is the same two without; {least}"
    return Figure("dataplane", case, "us", ours.costs, peer.costs, None, note)


def _managers(started: Started) -> Iterator[Started]:
    chains = (chain for found in started["static_resources"]["listeners"] for chain in found["filter_chains"])
    for filters in (chain["filters"] for chain in chains):
        yield from (f["typed_config"] for f in filters if f["typed_config"]["@type"].endswith("HttpConnectionManager"))


def _without(*fields: str) -> Callable[[Started], Started]:
    """Return what leaves fields out of every connection manager."""

    def change(started: Started) -> Started:
        for manager in _managers(started):
            for field in fields:
                manager.pop(field, None)
        return started

    return change


_SILENT = _without("access_log")

PARTS: Mapping[str, Part] = {
    "filelog": Part("", lambda started: started, _SILENT),
    "otlplog": Part("", lambda started: started, _SILENT, "otlp"),
    "traces": Part(_TRACED, _SILENT, _SILENT),
    "headers": Part("", _SILENT, _without("access_log", "early_header_mutation_extensions")),
}
"""The access log by way of a file and of OTLP; spans of 1 %; what is taken out of headers before all else."""
