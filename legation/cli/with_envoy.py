"""`--envoy`: what an Envoy that a team names knows of our configuration, and whether it takes a mesh."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from legation.cli.output import Exit, fail
from legation.mesh.names import GATEWAY
from legation.mesh.source import SourcedMesh
from xds_server.compile import Compiler
from xds_server.compile.older import losses
from xds_server.metrics import Metrics
from xds_server.prove.affected import made_up
from xds_server.prove.capabilities import Capabilities, capabilities
from xds_server.prove.envoy import NoVerdict
from xds_server.prove.prover import Prover


def known(envoy: Path) -> Capabilities:
    """Return what an Envoy knows; leaves where it is none."""
    try:
        return asyncio.run(capabilities(envoy.absolute()))
    except NoVerdict as error:
        raise fail(Exit.USAGE, f"--envoy {envoy}: {error}") from error


def prove(source: SourcedMesh, envoy: Path) -> Capabilities:
    """Have an Envoy look at what its proxies would get, and return what it knows; InvalidMesh where it rejects some."""
    found = known(envoy)
    prover = Prover(Metrics(CollectorRegistry()), envoy=envoy.absolute())
    nodes = [replace(made_up(name), lacks=found.lacks) for name in (*source.mesh.services, GATEWAY)]
    asyncio.run(prover.prove(None, source, Compiler(source), nodes))
    return found


def lost(found: Capabilities) -> tuple[str, ...]:
    """Return what is lost with an Envoy, in sentences."""
    return losses(found.lacks)


def left_out(found: Capabilities) -> Iterator[str]:
    """Yield a line for each part that is left out for an Envoy."""
    yield from (f"left out for Envoy {found.version}: {loss}" for loss in lost(found))
