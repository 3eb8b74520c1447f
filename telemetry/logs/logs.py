"""Central logs, put together: receiver, keeper, forwarder, and what follows them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from legation.mesh.model.mesh import Mesh
from legation.runtime.control.log_messages import LogPage, LogRecord
from legation.runtime.tasks import Latest, changed_within, spawn
from telemetry.logs import otlp
from telemetry.logs.between import Peer
from telemetry.logs.forward import Forwarder
from telemetry.logs.keeper import PASSED_ON, SYSLOG, Keeper, Limits
from telemetry.logs.metrics import LogMetrics
from telemetry.logs.query import Query
from telemetry.logs.receiver import receiving, receiving_lines
from telemetry.logs.store import search
from telemetry.logs.tail import Tail, Writer

SEARCH_LIMIT = 5.0
LONGEST_WAIT = 20.0


class Logs:
    """The log of one host."""

    def __init__(
        self,
        folder: Path,
        instances: Path,
        socket: Path,
        metrics: LogMetrics,
        syslog: str = "",
        peer: Peer | None = None,
    ) -> None:
        """Keep records in `folder`; apps' output is below `instances`, Envoys send theirs to `socket`.

        `syslog` is host:port for docker's log driver; empty: it is sent nowhere. With a `peer` all goes on to it,
        which passes it on to the team's own receiver.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file, self._socket, self._syslog, self._metrics = folder / "logs.sqlite", socket, syslog, metrics
        self._writers = Writers(instances)
        self._peer = peer
        self.forwarder = Forwarder(metrics.drop)
        self.forwarder.use(peer)
        self._keeper = Keeper(self._file, Tail(instances, self._writers.of), metrics.drop, self._kept)
        self._last = Latest(0)
        self._mesh = ""
        metrics.follow(lambda: self.forwarder.waiting)

    def use(self, mesh: Mesh) -> None:
        """Do as a mesh's `logging` says, from now on."""
        asked = mesh.logging
        self._mesh = mesh.mesh
        self._keeper.limits = Limits(asked.max_megabytes << 20, asked.max_age.total_seconds(), asked.sampling)
        self.forwarder.use(self._peer or asked.otlp)

    @asynccontextmanager
    async def running(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Take and keep records while the block runs."""
        self._loop = asyncio.get_running_loop()
        tasks = [spawn(group, "log-keeper", self._keeper.run()), spawn(group, "log-forwarder", self.forwarder.run())]
        lines = receiving_lines(self._syslog, partial(self._keeper.offer, form=SYSLOG))
        async with receiving(self._socket, self.offer), lines:
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def offer(self, batch: bytes) -> None:
        """Take a serialised ExportLogsServiceRequest, or drop it; returns at once."""
        self._keeper.offer(batch)

    def take_on(self, batch: bytes) -> bool:
        """Take what telemetry of another host has kept, if there is room; returns at once."""
        return self._keeper.admit(batch, PASSED_ON, alone=True)

    async def search(self, query: Query, wait: float = 0.0) -> LogPage:
        """Return what is asked; with `wait`, and nothing new after `query.after`, once there is or it is over.

        TimeoutError when searching takes too long.
        """
        page = await asyncio.to_thread(search, self._file, query, SEARCH_LIMIT)
        if wait and not page.records and query.after is not None:
            try:
                await changed_within(self._last, page.last, min(wait, LONGEST_WAIT))
            except TimeoutError:
                return page
            page = await asyncio.to_thread(search, self._file, query, SEARCH_LIMIT)
        return page

    def _kept(self, records: Sequence[LogRecord], last: int, size: int) -> None:
        """Hear, on the keeper's thread, of what is in the store now."""
        self._metrics.keep(records, size)
        batch = otlp.export(records, self._mesh) if self.forwarder.wanted else b""
        self._loop.call_soon_threadsafe(self._tell, last, batch, len(records))

    def _tell(self, last: int, batch: bytes, number: int) -> None:
        self._last.set(last)
        if batch:
            self.forwarder.offer(batch, number)


class Writers:
    """Who an instance is, by its folder: from the settings that it was started with."""

    def __init__(self, instances: Path) -> None:
        """Nothing is known yet."""
        self._instances = instances
        self._known: dict[str, Writer] = {}

    def of(self, instance: str) -> Writer:
        """Return service, instance and version; of one that left nothing but its name, that."""
        if instance not in self._known:
            try:
                settings = msgspec.json.decode((self._instances / instance / "run.json").read_bytes(), type=_Settings)
            except (OSError, msgspec.DecodeError):
                return ("", instance, "")
            self._known[instance] = (settings.spec.service, instance, settings.spec.version)
        return self._known[instance]


class _Spec(msgspec.Struct):
    service: str
    version: str


class _Settings(msgspec.Struct):
    """What is read of `run.json` (`legation.sidecar.settings`)."""

    spec: _Spec
