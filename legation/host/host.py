"""A whole mesh on one host: its components, its instances, and the mesh file that says what they are."""

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path

import structlog

from legation.host import commands
from legation.host.desired import desired
from legation.host.instances import Instances
from legation.host.layout import HostFile
from legation.mesh.load import load
from legation.mesh.source import SourcedMesh
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import ApplyResult, InstanceList, MeshDocument
from legation.runtime.state import StateFolder
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import Latest, backoff, follow, spawn
from legation.sidecar import report

log = structlog.get_logger()

COMPONENTS = ("openbao", "xds_server", "certmgr", "telemetry")
_COMPONENT_LIMIT = 8.0
_READY_LIMIT = 30.0


class Host:
    """Runs one mesh until it is told to stop."""

    def __init__(self, state: StateFolder, host: HostFile, source: SourcedMesh) -> None:
        """Prepare; nothing runs yet."""
        self.state, self.host = state, host
        self.applied = Latest(source)
        self.changes = Latest(0)
        self.registry = Latest(InstanceList(instances=()))
        self.registry_live = False
        self.file_problems: tuple[str, ...] = ()
        self.stopping = asyncio.Event()
        self.components = {name: self._component(name) for name in COMPONENTS}
        folder = Path(host.file).parent
        self.instances = Instances(state, host, folder, dict(os.environ))
        self.xds = ControlClient(state.control("xds_server"))

    async def run(self) -> None:
        """Run until `stopping` is set; nothing of ours is left when this returns."""
        async with asyncio.TaskGroup() as group:
            keepers = [spawn(group, name, component.keep()) for name, component in self.components.items()]
            keepers.append(spawn(group, "registry", self._watch_registry()))
            keepers.append(spawn(group, "instances", self._follow_applied(group)))
            await self._apply_first()
            await self.stopping.wait()
            await self._stop(keepers)
        for name in self.state.run.glob("*.sock"):
            name.unlink(missing_ok=True)

    def touch(self) -> None:
        """Tell whoever watches that something has changed."""
        self.changes.set(self.changes.value + 1)

    async def apply(self, text: str) -> ApplyResult:
        """Send a mesh file through the one path that a change takes; then reconcile what runs here with it."""
        document = MeshDocument(file=self.applied.value.file, text=text)
        result = await self.xds.send("PUT", "/mesh", document, ApplyResult, 30)
        self.file_problems = tuple(str(violation) for violation in result.violations)
        if not result.violations and result.version != self.applied.value.version:
            self.applied.set(load(text, document.file))
        self.touch()
        return result

    async def _apply_first(self) -> None:
        """Apply the file that we were started with, as soon as xds_server answers."""
        async for _ in backoff(0.05, 0.5):
            if self.stopping.is_set():
                return
            try:
                result = await self.apply(self.applied.value.text)
            except ControlError:
                continue
            if result.violations:
                log.error("mesh refused", violations=list(self.file_problems))
            return

    async def _follow_applied(self, group: asyncio.TaskGroup) -> None:
        async for source in self.applied.watch():
            await self.instances.reconcile(desired(source.mesh), group, self.touch, self._until_ready)

    async def _until_ready(self, instance: str) -> None:
        """Wait until an instance that was started anew takes requests; one that does not is not waited for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_LIMIT):
                async for registry in self.registry.watch():
                    said = report.read(self.state.instance(instance))
                    if said and any(i.boot == said.boot and i.state == "ready" for i in registry.instances):
                        return

    async def _watch_registry(self) -> None:
        """Keep the newest registry; what was known stays while xds_server is away."""

        def lost(_: Exception, __: int) -> None:
            self.registry_live = False
            self.touch()

        watch = partial(self.xds.watch, "/instances/watch", InstanceList)
        async for instances in follow(watch, lost, transient=(ControlError,), limit=1.0):
            self.registry_live = True
            self.registry.set(instances)
            self.touch()

    async def _stop(self, keepers: list[asyncio.Task[None]]) -> None:
        """End the instances while the control plane still serves them, then the components."""
        keepers[-1].cancel()
        await self.instances.end_all()
        await asyncio.gather(*(self.components[name].stop(_COMPONENT_LIMIT) for name in COMPONENTS))
        for task in keepers:
            task.cancel()

    def _component(self, name: str) -> Supervisor:
        make = {
            "openbao": commands.openbao_command,
            "xds_server": commands.xds_server_command,
            "certmgr": commands.certmgr_command,
            "telemetry": commands.telemetry_command,
        }[name]
        program = Program(name, lambda: make(self.state, self.host), self.state.logs / f"{name}.log")
        return Supervisor(program, self.touch)
