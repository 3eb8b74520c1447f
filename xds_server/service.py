"""xds_server as a service: its sockets and its tasks."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import structlog

from legation.runtime import host_port
from legation.runtime.clock import SteadyClock, WallClock
from legation.runtime.control import remote
from legation.runtime.control import server as wire
from legation.runtime.identity import Identity, follow
from legation.runtime.registry import metrics_registry
from legation.runtime.tasks import Latest, pause, spawn
from legation.runtime.traces import Traces
from xds_server import Server, rights, serve
from xds_server.admission import Admission
from xds_server.control import Control, metrics_routes
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.prove.prover import Prover
from xds_server.registry.store import SqliteStore
from xds_server.settings import Settings

log = structlog.get_logger()

_GATHER = 0.05
"""Seconds in which changes of the registry gather, as each costs its watchers the whole of it."""

_AGE_PER_LIFE = 0.5
"""A connection keeps the identity that it began with: it lives half of a certificate's life."""


async def run(settings: Settings, clock: SteadyClock | None = None) -> None:
    """Serve until cancelled. The control API is up at once; ADS as soon as there is an identity."""
    store = SqliteStore(settings.database)
    metrics = Metrics(metrics_registry())
    traces = Traces("xds_server", metrics.registry)
    plane = ControlPlane(store, clock or WallClock(), metrics, Prover(metrics), traces.emit)
    plane.restore()
    control = Control(plane, host_port.split(settings.listen, listens=True)[1])
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        await stack.enter_async_context(wire.serve([wire.bind_unix(settings.control)], control.routes()))
        if settings.reading is not None:
            reading = control.routes(rights.READING)
            await stack.enter_async_context(wire.serve([wire.bind_unix(settings.reading)], reading))
        await stack.enter_async_context(wire.serve([wire.bind_tcp(settings.metrics)], metrics_routes(metrics)))
        async with asyncio.TaskGroup() as group:
            identity: Latest[Identity | None] = Latest(None)
            spawn(group, "identity", follow(settings.sds, "xds-server", identity))
            spawn(group, "ticks", _tick(plane))
            spawn(group, "garbage", plane.applier.collector.sweep())
            spawn(group, "instances", _publish(plane))
            spawn(group, "traces", traces.run())
            spawn(group, "receiver of traces", _trace(plane, traces))
            spawn(group, "discovery", _discovery(plane, settings, identity))
            if settings.control_address:
                spawn(group, "remote", _remote(control, settings.control_address, identity))


async def _trace(plane: ControlPlane, traces: Traces) -> None:
    """Send spans where the applied mesh says, from the change on that says so."""
    async for _ in plane.applier.document.watch():
        if (source := plane.mesh) is not None:
            traces.want(source.mesh.mesh, source.mesh.tracing)


async def _discovery(plane: ControlPlane, settings: Settings, identity: Latest[Identity | None]) -> None:
    """Serve ADS and HDS once there is an identity and a mesh."""
    await _first(identity)
    async for document in plane.applier.document.watch():
        if document.text:
            break
    admission = Admission(plane)
    life = plane.mesh.mesh.certificates.ttl.total_seconds() if plane.mesh else 3600.0
    async with serve(
        admission,
        address=settings.listen,
        identity=identity,
        health=admission,
        connection_age=life * _AGE_PER_LIFE,
    ) as server:
        plane.end_streams = partial(_end, server)
        log.info("serving", address=server.address)
        await asyncio.Event().wait()


async def _remote(control: Control, address: str, identity: Latest[Identity | None]) -> None:
    """Serve the control API to other hosts once there is an identity."""
    await _first(identity)
    async with remote.serve(wire.bind_tcp(address), control.routes(), identity):
        log.info("serving other hosts", address=address)
        await asyncio.Event().wait()


def _end(server: Server, serials: frozenset[str]) -> int:
    return server.end(lambda info: info.serial in serials, "its certificate is revoked: come back with another")


async def _first(identity: Latest[Identity | None]) -> None:
    async for value in identity.watch():
        if value is not None:
            return


async def _tick(plane: ControlPlane) -> None:
    """Tick the registry when it is due, or when something has changed."""
    while True:
        plane.wake.clear()
        try:
            async with asyncio.timeout(plane.next_tick()):
                await plane.wake.wait()
        except TimeoutError:
            await plane.tick()


async def _publish(plane: ControlPlane) -> None:
    """Tell the watchers of the registry of changes, those of a short while together."""
    while True:
        await plane.stale.wait()
        plane.publish_instances()
        await pause(_GATHER)
