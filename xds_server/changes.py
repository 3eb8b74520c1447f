"""Each change of the mesh as one trace: from the file that was saved to the last proxy's answer."""

import asyncio
from collections.abc import Callable

from legation.runtime.clock import Clock
from legation.runtime.control.messages import MeshDocument
from legation.runtime.trail import Step, Trail
from xds_server.deliveries import Deliveries
from xds_server.fleet import Fleet

_LIMIT = 30.0
"""Seconds that a proxy has for its answer before the trace is sent without it."""
_SAVED_WITHIN = 60.0
"""Seconds: a file that is older was not saved for this change, but put in place with its old time."""


class Changes:
    """Follows changes; `emit` gets each once it is over."""

    def __init__(self, fleet: Fleet, clock: Clock, emit: Callable[[Step], None]) -> None:
        """Follow none yet."""
        self._fleet, self._clock, self._emit = fleet, clock, emit
        self._following: set[asyncio.Task[None]] = set()

    def begin(self, document: MeshDocument) -> Trail:
        """Begin a change: when its file was saved, where that is known."""
        now, saved = self._clock.now(), document.saved
        start = saved if saved is not None and 0 <= now - saved <= _SAVED_WITHIN else now
        trail = Trail("change mesh", self._clock.now, start)
        trail.root.said |= {"legation.file": document.file, "legation.by": document.by}
        return trail

    def failed(self, trail: Trail, reason: object) -> None:
        """End a change that came to nothing: its file is rejected, or we could not make it."""
        trail.root.fail(str(reason))
        self._emit(trail.finish())

    def published(self, trail: Trail, publish: Step, deliveries: Deliveries, version: str) -> None:
        """Take that all were told; the rest is waited for behind."""
        trail.root.said["legation.version"] = version
        task = asyncio.ensure_future(self._until_answered(trail, publish, deliveries))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _until_answered(self, trail: Trail, publish: Step, deliveries: Deliveries) -> None:
        streams = self._fleet.streams
        told = {key: streams[key].node.id for key in deliveries.told if key in streams}
        await self._fleet.until(lambda: deliveries.is_over, _LIMIT)
        rejections = {key: " ".join(streams[key].rejections) for key in told if key in streams and streams[key].nacks}
        offset = self._clock.now() - asyncio.get_running_loop().time()
        publish.said["legation.proxies"] = len(deliveries.told)
        publish.steps.extend(deliveries.steps(told, rejections, offset))
        publish.end = self._clock.now()
        self._emit(trail.finish())
