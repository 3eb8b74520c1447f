"""A whole mesh on one host: its components, its instances, and the mesh file that says what they are."""

import asyncio
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog

from legation.host import commands
from legation.host.counts import Counts, within
from legation.host.desired import gateway_ports, replica_sets
from legation.host.instances import Instances
from legation.host.layout import HostFile
from legation.host.openbaos import STOP_LIMIT, OpenBaos
from legation.host.rollout import Running
from legation.mesh.desired import DesiredMesh, ReplicaSet, WorkloadSpec
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import ApplyResult, InstanceList, MeshDocument, TransitionResult
from legation.runtime.state import StateFolder
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import Latest, backoff, follow, spawn

log = structlog.get_logger()

COMPONENTS: dict[str, Callable[[StateFolder, HostFile], list[str]]] = {
    "xds_server": commands.xds_server_command,
    "certmgr": commands.certmgr_command,
    "telemetry": commands.telemetry_command,
}
_ACK_LIMIT = 5.0
"""Seconds that an instance serves on for callers that have not ACKed its successor."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a host starts with: where everything is, the mesh file's text, and what that desires."""

    state: StateFolder
    host: HostFile
    text: str
    desired: DesiredMesh
    chosen_ports: dict[str, int]


class Host:
    """Runs one mesh until it is told to stop."""

    def __init__(self, given: Given) -> None:
        """Prepare; nothing runs yet."""
        self.state, self.host, self.text = given.state, given.host, given.text
        self._chosen_ports = given.chosen_ports
        self._counts = Counts(given.state.root / "scale.json")
        self.desired = Latest(given.desired)
        self.changes = Latest(0)
        self.registry = InstanceList(instances=())
        self.registry_live = False
        self.registry_lost: float | None = None
        self.file_problems: tuple[str, ...] = ()
        self.stopping = asyncio.Event()
        self.openbaos = OpenBaos(given.state, given.host, self.touch)
        self._components = {name: self._component(name) for name in COMPONENTS}
        folder = Path(given.host.file).parent
        self.instances = Instances(given.state, folder, dict(os.environ))
        self.xds = ControlClient(given.state.control("xds_server"))

    async def run(self) -> None:
        """Run until `stopping` is set; nothing of ours is left when this returns."""
        async with asyncio.TaskGroup() as group:
            self.instances.open(group)
            tasks = [
                spawn(group, "reconcile", self._reconcile()),
                spawn(group, "registry", self._watch_registry()),
                *(spawn(group, name, component.keep()) for name, component in self._components.items()),
            ]
            self.openbaos.open(group)
            await self._apply_first()
            await self.stopping.wait()
            tasks[0].cancel()
            await self.instances.end_all()
            self.openbaos.close()
            await asyncio.gather(*(component.stop(STOP_LIMIT) for component in self.components.values()))
            for task in tasks:
                task.cancel()
        for name in self.state.run.glob("*.sock"):
            name.unlink(missing_ok=True)

    @property
    def components(self) -> dict[str, Supervisor]:
        """Our own processes, by name."""
        return {**self.openbaos.running, **self._components}

    def sets(self) -> tuple[ReplicaSet, ...]:
        """Return which instances there are to be: as the mesh file desires, in numbers that follow the load."""
        return self._counts.applied(replica_sets(self.desired.value, self._chosen_ports))

    def desired_specs(self) -> frozenset[WorkloadSpec]:
        """Return how instances are to be started that are as the mesh file desires."""
        return frozenset(s.spec for s in self.sets())

    def scale(self, service: str, version: str, number: int, reason: str) -> bool:
        """Have so many instances of a version, within its bounds; False where none follows the load."""
        desired = replica_sets(self.desired.value, self._chosen_ports)
        of = [s for s in desired if (s.spec.service, s.spec.version) == (service, version) and s.bounds is not None]
        for replicas in of:
            kept = within(replicas, number)
            self._counts.set(replicas, kept)
            log.info("scaled", service=service, version=version, instances=kept, reason=reason)
            self.touch()
        return bool(of)

    def touch(self) -> None:
        """Tell whoever watches that something has changed."""
        self.changes.set(self.changes.value + 1)

    def replace(self, instance: str) -> bool:
        """Take that an instance was asked to end; say whether it serves on until its successor is ready."""
        wait = not self.stopping.is_set() and self.instances.outdate(instance)
        self.touch()
        return wait

    async def apply(self, text: str, saved: float | None = None) -> ApplyResult:
        """Send a mesh file through the one path that a change takes; then reconcile what runs here with it.

        `saved` is when the file was, in seconds since the epoch.
        """
        document = MeshDocument(file=self.host.file, text=text, saved=saved, by=_whose())
        result = await self.xds.send("PUT", "/mesh", document, ApplyResult, 30)
        self.file_problems = tuple(str(violation) for violation in result.violations)
        if result.desired is not None and result.version != self.desired.value.version:
            self._take(text, result.desired)
        self.touch()
        return result

    def _take(self, text: str, desired: DesiredMesh) -> None:
        """Take what another version of the mesh file desires."""
        self.text = text
        ports = gateway_ports(desired.exposed, self._chosen_ports)
        self.host = msgspec.structs.replace(self.host, gateway_ports=ports)
        self.host.write(self.state.host_file)
        self.instances.outdate_failed()
        self.desired.set(desired)

    async def _apply_first(self) -> None:
        """Apply the file that we were started with, as soon as xds_server answers."""
        async for _ in backoff(0.05, 0.5):
            if self.stopping.is_set():
                return
            try:
                result = await self.apply(self.text)
            except ControlError:
                continue
            if result.violations:
                log.error("mesh rejected", violations=list(self.file_problems))
            return

    def running(self) -> list[Running]:
        """Return the instances that do not end, and which of them serve."""
        return self.instances.running({i.id: i for i in self.registry.instances})

    async def _reconcile(self) -> None:
        """Take the next steps towards what is desired, after every change of anything."""
        async for _ in self.changes.watch():
            if not self.stopping.is_set():
                known = {i.id: i for i in self.registry.instances}
                self.instances.reconcile(
                    self.sets(), known, self.host, changed=self.touch, before_end=self._until_synced
                )

    def _until_synced(self, service: str) -> "asyncio.Future[None]":
        """Wait until every caller's proxy has ACKed the endpoints of a service, or for too long."""
        return asyncio.ensure_future(self._synced(service))

    async def _synced(self, service: str) -> None:
        path = f"/services/{service}/unsynced?wait={_ACK_LIMIT}"
        try:
            answer = await self.xds.get(path, TransitionResult, _ACK_LIMIT + 2)
        except ControlError as error:
            log.warning("cannot tell who has ACKed", service=service, error=str(error))
            return
        if answer.unsynced:
            log.warning("some proxies have not ACKed the successor", service=service, unsynced=answer.unsynced)

    async def _watch_registry(self) -> None:
        """Keep the newest registry; what was known stays while xds_server is away."""

        def lost(_: Exception, __: int) -> None:
            if self.registry_live:
                self.registry_lost = asyncio.get_running_loop().time()
            self.registry_live = False
            self.touch()

        watch = partial(self.xds.watch, "/instances/watch", InstanceList)
        async for instances in follow(watch, lost, transient=(ControlError,), limit=1.0):
            self.registry_live, self.registry = True, instances
            self.touch()

    def _component(self, name: str) -> Supervisor:
        program = Program(name, lambda: COMPONENTS[name](self.state, self.host), self.state.logs / f"{name}.log")
        return Supervisor(program, self.touch)


def _whose() -> str:
    """Return for whom we speak: the user of this process, as nobody knows who saved a file."""
    try:
        return f"{pwd.getpwuid(os.getuid()).pw_name} (legation up)"
    except KeyError:  # a container's uid need not have a name
        return f"uid {os.getuid()} (legation up)"
