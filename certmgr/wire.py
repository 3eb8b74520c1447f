"""What the proxies of this host really show, against what they should: a handshake with each says which serial.

SDS says that a proxy has taken a certificate, and not that its listeners use it. A look that finds another one
is followed by a second before anything is said, as a rotation may be under way.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from certmgr.metrics import Metrics
from legation.mesh import names
from legation.mesh.names import serial_text
from legation.runtime import http
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import Instance, InstanceList
from legation.runtime.control.mtls import shown_by
from legation.runtime.identity import Identity
from legation.runtime.tasks import pause

log = structlog.get_logger(__name__)

_LIMIT = 3.0
"""Seconds that a handshake may take."""

Look = Callable[[str, int, Identity, float], Awaitable[str]]
Loaded = Callable[[Instance], Awaitable[str]]


def loaded_by(admin: Callable[[str], Path]) -> Loaded:
    """Return what asks an Envoy, by its admin socket, which certificate of its own identity it has put in use last.

    It returns the serial, empty where there is none; OSError when it does not answer.
    """

    async def ask(instance: Instance) -> str:
        try:
            answer = await http.request(admin(instance.spec.id), "GET", "/certs", limit=_LIMIT)
            said = json.loads(answer.body)
        except (http.HttpError, ValueError) as error:
            raise OSError(str(error)) from error
        return newest(said, instance.spiffe_id)

    return ask


def newest(said: Mapping[str, Any], spiffe_id: str) -> str:
    """Return the serial of the certificate with a SPIFFE ID that ends last, of all that an Envoy has in use."""
    leaves = (leaf for entry in said.get("certificates", ()) for leaf in entry.get("cert_chain", ()))
    mine = [leaf for leaf in leaves if any(s.get("uri") == spiffe_id for s in leaf.get("subject_alt_names", ()))]
    found = max(mine, key=lambda leaf: str(leaf["expiration_time"]), default=None)
    return "" if found is None else serial_text(int(found["serial_number"], 16))


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
        loaded: Loaded,
        look: Look = shown_by,
    ) -> None:
        """Prepare; `here` are the nodes with streams on this host, `every` the seconds between looks (0: none)."""
        self._loaded = loaded
        self._xds, self._identity, self._here = xds, identity, here
        self._metrics, self._every, self._look = metrics, every, look
        self._suspects: dict[str, Wrong] = {}
        self.asked: frozenset[str] = frozenset()
        """Services whose Envoys are asked and not connected to: a connection to one of TCP reaches its app."""
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
        found = await asyncio.gather(*(self._examine(instance) for instance in instances))
        wrong = [one for one in found if one is not None]
        sure = [one for one in wrong if self._suspects.get(one.instance) == one]
        self._suspects = {one.instance: one for one in wrong}
        self._say(sure, {i.spec.service for i in instances})

    async def _examine(self, instance: Instance) -> Wrong | None:
        spec, meant = instance.spec, self._identity(instance.spec.service)
        if meant is None:
            return None
        try:
            shows = await self._shown(instance, meant)
        except (OSError, TimeoutError) as error:
            log.debug("a proxy is not reached", instance=spec.id, reason=str(error))
            self._metrics.wire_looks.labels("unreached").inc()
            return None
        self._metrics.wire_looks.labels("right" if shows == meant.serial else "wrong").inc()
        return None if shows == meant.serial else Wrong(spec.id, spec.service, shows, meant.serial)

    async def _shown(self, instance: Instance, meant: Identity) -> str:
        """Return the serial that a proxy shows in a handshake; the gateway is a client of the mesh and shows none."""
        spec = instance.spec
        if self._is_asked(spec.service):
            return await self._loaded(instance)
        return await self._look(spec.address, spec.port, meant, _LIMIT)

    def _is_asked(self, service: str) -> bool:
        return service == names.GATEWAY or service in self.asked

    def _say(self, sure: Collection[Wrong], services: Collection[str]) -> None:
        problems = {}
        for service in services:
            those = [one for one in sure if one.service == service]
            self._metrics.wire_wrong.labels(service).set(len(those))
            if those:
                how = "in use" if self._is_asked(service) else "on the wire"
                problems[service] = "; ".join(
                    f"{one.instance} shows {one.shows or 'none'} {how} and not {one.meant}: restart its proxy"
                    for one in those
                )
        for service, problem in problems.items():
            if problem != self.problems.get(service):
                log.error("a proxy shows another certificate than it should", identity=service, reason=problem)
        self.problems = problems
