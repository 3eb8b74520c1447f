"""The telemetry service: follows xds_server's registry and mesh, and serves what they say."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from legation.mesh.errors import InvalidMesh
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime import host_port, http
from legation.runtime.clock import Clock
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.contexts import shown, to_xds_server
from legation.runtime.control.messages import InstanceList, MeshDocument, Message
from legation.runtime.control.rollover_messages import RolloverView
from legation.runtime.control.server import bind_tcp, bind_unix, serve
from legation.runtime.identity import Identity
from legation.runtime.identity import follow as identities
from legation.runtime.state import StateFolder
from legation.runtime.tasks import Latest, follow, spawn
from legation.runtime.traces import Traces
from legation.runtime.trail import Step
from telemetry.autoscale.actuator import Actuator, HostRunner
from telemetry.autoscale.compose import Compose
from telemetry.autoscale.scaler import Scaler
from telemetry.changes import Change, of_instances, of_mesh
from telemetry.control import OWN_PATH, control_routes, public_routes
from telemetry.discovery import (
    COMPONENT_PATH,
    NOWHERE,
    SIDECAR_PATH,
    Here,
    TargetGroup,
    far_hosts,
    is_near,
    parted,
    relayed,
    target_groups,
)
from telemetry.hosts import METRICS, listen, metrics_of, to_telemetry
from telemetry.inventory import Inventory, Watch
from telemetry.logs.between import LOGS, Peer, intake
from telemetry.logs.logs import Logs
from telemetry.metrics import Metrics
from telemetry.record import Record
from telemetry.rollouts import Rollouts
from telemetry.rules import runbook
from telemetry.rules.alerting import alerts
from telemetry.settings import TELEMETRY, Settings

M = TypeVar("M", bound=Message)
log = structlog.get_logger()


async def run(settings: Settings, clock: Clock) -> None:
    """Serve until cancelled. OSError when an address or the socket is taken, ValueError for words that do not fit."""
    settings.check()
    identity: Latest[Identity | None] = Latest(None)
    components = settings.component_addresses()
    public = bind_tcp(host_port.join(settings.host, settings.port))
    own = host_port.join(settings.host, public.getsockname()[1])
    state = _state(settings)
    record = Record(None if state is None else state.telemetry / "changes.json", clock.now)
    address, port = host_port.split(settings.listen) if settings.listen else ("", 0)
    here = Here(settings.host, address, own)
    follower = Follower(clock, {TELEMETRY: own, **components}, here, record.note)
    actuator = actuator_of(settings)
    scaler = Scaler(follower.inventory, actuator, clock, note=record.note) if actuator is not None else None
    metrics = Metrics(follower.inventory, follower.targets, scaler, record.changes)
    traces = Traces("telemetry", metrics.registry)
    follower.on_mesh.append(lambda mesh: traces.want(mesh.mesh, mesh.tracing))
    follower.emit = traces.emit
    elsewhere = partial(follower.elsewhere, port, identity)
    routes = public_routes(follower.inventory, follower.targets, metrics, follower.runbooks, elsewhere)
    logs = None if state is None else _logs(settings, state, metrics, follower, identity)
    scaling = scaler.shown if scaler is not None else lambda: ((), None)
    control = control_routes(follower.inventory, follower.targets, f"http://{own}/sd", scaling, logs)
    async with (
        serve([public], routes),
        serve([bind_unix(settings.control)], control),
        asyncio.TaskGroup() as group,
        _running(logs, group),
    ):
        log.info("serving", discovery=f"http://{own}/sd", control=str(settings.control))
        if scaler is not None:
            spawn(group, "autoscale", scaler.run(settings.autoscale_interval))
        spawn(group, "traces", traces.run())
        if settings.sds is not None:
            spawn(group, "identity", identities(settings.sds, "telemetry", identity, shown))
        if settings.listen:
            answers = {METRICS: metrics_of(follower.nearby)}
            taken = {} if logs is None else {("POST", LOGS): intake(logs.take_on)}
            spawn(group, "other hosts", listen(settings.listen, identity, {**answers, **taken}))
        await follower.follow(_xds_server(settings, identity), is_here=not settings.xds)


def _xds_server(settings: Settings, identity: Latest[Identity | None]) -> ControlClient:
    """Return the way to xds_server: its socket, or over mTLS to another host."""
    if not settings.xds:
        return ControlClient(settings.xds_control)
    return ControlClient(to_xds_server(settings.xds, lambda: identity.value))


def actuator_of(settings: Settings) -> Actuator | None:
    """Return whoever starts and ends instances here; None where nobody does."""
    if settings.host_control is not None:
        return HostRunner(settings.host_control)
    files = tuple(Path(name) for name in settings.compose_files.split(":") if name)
    return Compose(files) if files else None


def _state(settings: Settings) -> StateFolder | None:
    """Return the state folder, which a container has for itself and makes."""
    if settings.state is None:
        return None
    state = StateFolder(settings.state)
    state.make()
    return state


def _logs(
    settings: Settings,
    state: StateFolder,
    metrics: Metrics,
    follower: "Follower",
    identity: Latest[Identity | None],
) -> Logs:
    socket = settings.logs_socket or state.logs_socket
    peer = Peer.at(settings.logs_to, identity) if settings.logs_to else None
    logs = Logs(state.telemetry, state.instances, socket, metrics.logs, settings.syslog, peer)
    follower.on_mesh.append(logs.use)
    return logs


def _running(logs: Logs | None, group: asyncio.TaskGroup) -> AbstractAsyncContextManager[None]:
    return nullcontext() if logs is None else logs.running(group)


class Follower:
    """Keeps the inventory up to date, and what it last knew while xds_server is away."""

    def __init__(
        self,
        clock: Clock,
        components: dict[str, str],
        here: Here = NOWHERE,
        note: Callable[[Change], None] = lambda _: None,
    ) -> None:
        """Know nothing yet but our own services (name: host:port), and where we are; `note` hears of changes."""
        self._clock, self._components, self._here, self._note = clock, components, here, note
        self._version = ""
        self._rollover: tuple[str, str] | None = None
        self._inventory = Inventory()
        self._rollouts = Rollouts()
        self.on_mesh: list[Callable[[Mesh], None]] = []
        self.emit: Callable[[Step], None] = lambda _: None
        """Gets each start and end of an instance; whoever traces puts it here."""

    def inventory(self) -> Inventory:
        """Return what is known now."""
        return self._inventory

    def targets(self) -> tuple[TargetGroup, ...]:
        """Return the targets as known now; none before the inventory is complete."""
        known = self._inventory
        if known.mesh is None or known.instances is None:
            return ()
        apart = [(name, one) for name, service in known.mesh.services.items() for one in service.telemetry_only]
        return target_groups(known.mesh.mesh, known.instances, self._components, self._here, apart)

    def nearby(self, instance: str) -> tuple[http.Address, str] | None:
        """Return where a sidecar of this host, or one of our own services, shows its metrics."""
        component, host = parted(instance)
        if component:
            return self._own(component) if host == self._here.address else None
        spec = self._connected(instance)
        if spec is None or not is_near(spec, self._here):
            return None
        return (spec.scraped_address, spec.metrics_port), SIDECAR_PATH

    def elsewhere(self, port: int, identity: Latest[Identity | None], instance: str) -> tuple[http.Address, str] | None:
        """Return where telemetry of another host shows what runs there: at the port that it is at here."""
        _, host = parted(instance)
        if not host:
            spec = self._connected(instance)
            host = "" if spec is None else spec.address
        if host not in far_hosts(self._inventory.instances or (), self._here):
            return None
        return to_telemetry(host_port.join(host, port), identity), relayed(instance)

    def _own(self, component: str) -> tuple[http.Address, str] | None:
        """Return where a service of ours on this host shows its metrics; of telemetry's, what is not of the mesh."""
        at = self._components.get(component)
        return None if at is None else (host_port.split(at), OWN_PATH if component == TELEMETRY else COMPONENT_PATH)

    def _connected(self, instance: str) -> InstanceSpec | None:
        known = self._inventory.instances or ()
        return next((one.spec for one in known if one.id == instance and one.connected), None)

    def runbooks(self) -> Mapping[str, str]:
        """Return the runbooks of the mesh's alerts by file name; none before the mesh is known."""
        mesh = self._inventory.mesh
        return {} if mesh is None else runbook.pages(alerts(mesh))

    async def follow(self, xds: ControlClient, *, is_here: bool = True) -> None:
        """Follow all watches for ever; that of a roll-over on xds_server's own host, which alone notes it."""
        async with asyncio.TaskGroup() as group:
            if is_here:
                spawn(group, "watch-rollover", self._watch_rollover(xds))
            spawn(group, "watch-instances", self._watch(xds, "instances", InstanceList, self._instances))
            spawn(group, "watch-mesh", self._watch(xds, "mesh", MeshDocument, self._mesh))

    async def _instances(self, event: InstanceList) -> None:
        if (before := self._inventory.instances) is not None:
            for change in of_instances(before, event.instances, self._clock.now()):
                self._note(change)
        for step in self._rollouts.look(event.instances, self._clock.now()):
            self.emit(step)
        self._inventory = replace(self._inventory, instances=event.instances)

    async def _mesh(self, event: MeshDocument) -> None:
        try:
            # Off the loop: a mesh of 1,000 services takes a second, and Prometheus is answered meanwhile.
            mesh = (await asyncio.to_thread(load, event.text, event.file)).mesh
        except InvalidMesh as error:
            # xds_server checked it already: ours is another version. What we know stays.
            log.warning("mesh not understood", file=event.file, version=event.version, faults=str(error))
            return
        if event.applied is not None and event.version != self._version:
            self._note(of_mesh(self._inventory.mesh, mesh, event.version, event.applied, event.by))
        self._version = event.version
        self._inventory = replace(self._inventory, mesh=mesh)
        for hear in self.on_mesh:
            hear(mesh)

    async def _watch_rollover(self, xds: ControlClient) -> None:
        """Note each step of a roll-over of the CA."""
        events = partial(xds.watch, "/rollover/watch", RolloverView)
        async for view in follow(events, lambda *_: None, transient=(ControlError,)):
            rollover = view.standing.rollover
            at = None if rollover is None else (rollover.id, rollover.phase)
            if rollover is not None and at != self._rollover:
                what = f"roll-over of the CA ({rollover.kind}): {rollover.phase}"
                self._note(Change(at=rollover.since, kind="certificates", what=what, by=rollover.by))
            self._rollover = at

    async def _watch(
        self, xds: ControlClient, watch: Watch, event: type[M], take: Callable[[M], Awaitable[None]]
    ) -> None:
        """Follow one watch for ever; after each break, start again with a short back-off."""
        events = partial(xds.watch, f"/{watch}/watch", event)
        async for message in follow(events, partial(self._lose, watch), transient=(ControlError,)):
            await take(message)
            self._hear(watch)

    def _lose(self, watch: Watch, error: Exception, attempt: int) -> None:
        if watch in self._inventory.connected:
            self._inventory = replace(self._inventory, connected=self._inventory.connected - {watch})
            log.warning("xds_server is away: the last targets stay", watch=watch, reason=str(error))
        elif attempt == 0:
            log.warning("xds_server does not answer yet", watch=watch, reason=str(error))

    def _hear(self, watch: Watch) -> None:
        known = self._inventory
        if watch not in known.connected:
            log.info("following xds_server", watch=watch)
        heard = {**known.heard, watch: self._clock.now()}
        self._inventory = replace(known, connected=known.connected | {watch}, heard=heard)
