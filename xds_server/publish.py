"""Who gets which snapshot, and when: from a change of the registry or the mesh to every stream that it concerns."""

import asyncio
from collections.abc import Iterable

from legation.mesh.instance import InstanceSpec
from legation.runtime.clock import Clock
from legation.runtime.tasks import Latest, pause
from xds_server.compile import Compiler
from xds_server.compile.compiler import Group
from xds_server.compile.unavailable import Outage, outage
from xds_server.convergence import Convergence
from xds_server.deliveries import Deliveries
from xds_server.fleet import Fleet
from xds_server.metrics import Metrics
from xds_server.registry.registry import Registry
from xds_server.revocations import NONE_REVOKED, Revocations
from xds_server.snapshot import NOTHING, Snapshot

SLICE = 0.005
"""Seconds of publishing after which everything else has its turn."""


class Publisher:
    """Tells streams what their nodes should have. All methods run on one event loop."""

    def __init__(self, registry: Registry, clock: Clock, metrics: Metrics) -> None:
        """Start without a mesh and without a stream."""
        self._registry, self._clock, self._metrics = registry, clock, metrics
        self.compiler: Compiler | None = None
        self.fleet = Fleet()
        self.specifiers: dict[str, Latest[bytes]] = {}
        self.outages: dict[str, Outage] = {}
        self.revoked = NONE_REVOKED
        self._convergence = Convergence()

    def adopt(self, compiler: Compiler, services: Iterable[str]) -> None:
        """Publish from now on what another mesh says."""
        self.compiler = compiler
        compiler.revoke(self.revoked)  # more may have been revoked while it was compiled ahead
        known, self.outages = self.outages, {}
        for service in services:
            self._look_for_outage(service, known.get(service))

    def snapshot(self, node: InstanceSpec) -> Snapshot:
        """Return what a node should have now."""
        return NOTHING if self.compiler is None else self.compiler.join(node, self._group(self.compiler, node.service))

    def specifier(self, node: InstanceSpec) -> bytes:
        """Return how a node checks its app (a serialised HealthCheckSpecifier)."""
        return self.compiler.health_specifier(node) if self.compiler else b""

    def checks(self, node: InstanceSpec) -> bool:
        """Say whether a node is asked to check its app."""
        asked = self.compiler is not None and (node.standalone or self.compiler.is_checked(node.service))
        return asked and not node.by_name

    async def publish(self, services: Iterable[str]) -> None:
        """Tell the callers of these services of their endpoints."""
        for service in services:
            self._look_for_outage(service, self.outages.get(service))
        await self._tell(self.fleet.keys_of(self.callers(services)))

    async def publish_all(self, traced: Deliveries | None = None) -> None:
        """Tell every proxy what it should have, and how to check its app; `traced` hears how that goes."""
        await self._tell(tuple(self.fleet.streams), traced)
        for instance, specifier in self.specifiers.items():
            if (entry := self._registry.entries.get(instance)) is not None:
                specifier.set(self.specifier(entry.node))

    async def renew_connections(self, serials: frozenset[str]) -> None:
        """Have all callers make new connections, before these certificates are revoked."""
        if self.compiler is not None:
            self.compiler.renew_connections(serials)
            await self._tell(tuple(self.fleet.streams))

    async def revoke(self, revoked: Revocations) -> None:
        """Deny what peers with these certificates ask for, and no others."""
        self.revoked = revoked
        if self.compiler is not None:
            self.compiler.revoke(revoked)
            await self._tell(tuple(self.fleet.streams))

    def callers(self, services: Iterable[str]) -> frozenset[str]:
        """Return whose proxies have the endpoints of these services."""
        compiler = self.compiler
        return frozenset(name for s in services for name in compiler.interested(s)) if compiler else frozenset()

    def answered(self, stream: int) -> None:
        """Take that a stream has answered its newest snapshot, or has ended."""
        self._measure(self._convergence.answered(stream, _now()))

    async def _tell(self, streams: Iterable[int], traced: Deliveries | None = None) -> None:
        """Give streams what their nodes should have now, a slice at a time."""
        now = asyncio.get_running_loop().time
        change, until = self._convergence.begin(now(), traced), now() + SLICE
        groups: dict[str, Group] = {}
        for key in streams:
            if (moment := now()) >= until:
                await pause(0)
                # what another change has brought meanwhile may not be overtaken
                groups, until = {}, (moment := now()) + SLICE
            self._tell_one(key, change, groups, moment)
        self._measure(self._convergence.all_told(change, now()))

    def _tell_one(self, key: int, change: int, groups: dict[str, Group], now: float) -> None:
        stream = self.fleet.streams.get(key)
        if stream is None or self.compiler is None:
            return
        service = stream.node.service
        if service not in groups:
            groups[service] = self._group(self.compiler, service)
        self._convergence.told(change, key, now)
        self.fleet.tell(key, self.compiler.join(stream.node, groups[service]))

    def _group(self, compiler: Compiler, service: str) -> Group:
        return compiler.group(service, self._registry.endpoints_by_service, self.outages)

    def _look_for_outage(self, service: str, known: Outage | None) -> None:
        """Note whether a service has a ready instance of each version that its routes lead to; keep since when not."""
        if self.compiler is None or not self.compiler.knows(service):
            return
        since = known.since if known else self._clock.now()
        found = outage(self.compiler.targets(service), self._registry.ready_versions(service), since)
        if found is None:
            self.outages.pop(service, None)
        else:
            self.outages[service] = found

    def _measure(self, seconds: Iterable[float]) -> None:
        for value in seconds:
            self._metrics.convergence.observe(value)


def _now() -> float:
    return asyncio.get_running_loop().time()
