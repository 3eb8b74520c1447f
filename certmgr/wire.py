"""What the proxies of this host really show, against what they should: a handshake with each says which serial.

SDS says that a proxy has taken a certificate, and not that its listeners use it. A look that finds another one
is followed by a second before anything is said, as a rotation may be under way.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from certmgr.metrics import Metrics
from legation.mesh import names
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import Instance, InstanceList
from legation.runtime.control.mtls import shown_by
from legation.runtime.identity import Identity
from legation.runtime.tasks import pause

log = structlog.get_logger(__name__)

_LIMIT = 3.0
"""Seconds that a handshake may take."""

Look = Callable[[str, int, Identity, float], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An instance that shows another certificate than the one that was meant for it then."""

    instance: str
    service: str
    shows: str
    meant: str


class Wire:
    """Looks at the proxies of this host, over and over."""

    def __init__(
        self,
        xds: ControlClient,
        identity: Callable[[str], Identity | None],
        here: Callable[[], Collection[str]],
        metrics: Metrics,
        every: float,
        look: Look = shown_by,
    ) -> None:
        """Prepare; `here` are the nodes with streams on this host, `every` the seconds between looks (0: none)."""
        self._xds, self._identity, self._here = xds, identity, here
        self._metrics, self._every, self._look = metrics, every, look
        self._suspects: dict[str, Wrong] = {}
        self.skipped: frozenset[str] = frozenset()
        """Services whose connections are of no protocol that could be left without a request: those of TCP."""
        self.problems: Mapping[str, str] = {}

    async def run(self) -> None:
        """Look, for ever."""
        while self._every > 0:
            await pause(self._every * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            try:
                known = await self._xds.get("/instances", InstanceList)
            except ControlError as error:
                log.debug("proxies are not looked at", reason=str(error))
                continue
            here = self._here()
            await self.examine([i for i in known.instances if i.spec.id in here and i.connected])

    async def examine(self, instances: Collection[Instance]) -> None:
        """Look at some instances once; what shows the same wrong certificate for the second time is said."""
        mine = [i for i in instances if i.spec.service != names.GATEWAY and i.spec.service not in self.skipped]
        found = await asyncio.gather(*(self._examine(instance) for instance in mine))
        wrong = [one for one in found if one is not None]
        sure = [one for one in wrong if self._suspects.get(one.instance) == one]
        self._suspects = {one.instance: one for one in wrong}
        self._say(sure, {i.spec.service for i in mine})

    async def _examine(self, instance: Instance) -> Wrong | None:
        spec, meant = instance.spec, self._identity(instance.spec.service)
        if meant is None:
            return None
        try:
            shows = await self._look(spec.address, spec.port, meant, _LIMIT)
        except (OSError, TimeoutError) as error:
            log.debug("a proxy is not reached", instance=spec.id, reason=str(error))
            self._metrics.wire_looks.labels("unreached").inc()
            return None
        self._metrics.wire_looks.labels("right" if shows == meant.serial else "wrong").inc()
        return None if shows == meant.serial else Wrong(spec.id, spec.service, shows, meant.serial)

    def _say(self, sure: Collection[Wrong], services: Collection[str]) -> None:
        problems = {}
        for service in services:
            those = [one for one in sure if one.service == service]
            self._metrics.wire_wrong.labels(service).set(len(those))
            if those:
                problems[service] = "; ".join(
                    f"{one.instance} shows {one.shows} on the wire and not {one.meant}: restart its proxy"
                    for one in those
                )
        for service, problem in problems.items():
            if problem != self.problems.get(service):
                log.error("a proxy shows another certificate than it should", identity=service, reason=problem)
        self.problems = problems
