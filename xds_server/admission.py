"""Who may have a stream, and what the registry learns from it: the consumer side of `serve`."""

import asyncio
from typing import NoReturn

import structlog

from legation.mesh import names
from legation.runtime.tasks import Latest
from xds_server.control_plane import ControlPlane
from xds_server.identify import BadNode, node_of, refusal
from xds_server.node import Node
from xds_server.protocol.types import Acknowledged, Effect, Nacked
from xds_server.registry.registry import ForeignId, StaleBoot
from xds_server.serve.hds import AdmittedHealth
from xds_server.serve.session import Refused, StreamInfo
from xds_server.serve.stream import Admitted

log = structlog.get_logger()


class Admission:
    """Admits the streams of one control plane; a stream is its instance's registration."""

    def __init__(self, plane: ControlPlane) -> None:
        """Speak for a control plane."""
        self._plane = plane
        self._health: dict[int, Node] = {}
        self._last = 0
        self._following: set[asyncio.Task[None]] = set()

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take an Envoy's stream: its node must be what its certificate says."""
        node = self._node(info)
        key, stream = self._plane.fleet.opened(node)
        try:
            services = self._plane.registry.connected(node, str(info.peer), key)
        except StaleBoot:
            self._plane.fleet.closed(key)
            self._refuse(f"node {node.id!r}: a newer life of this instance is connected")
        except ForeignId as owner:
            self._plane.fleet.closed(key)
            self._refuse(f"node {node.id!r}: this is the id of an instance of {owner}")
        admitted = Admitted(key, stream.snapshots)
        self._plane.metrics.streams.inc()
        log.info("stream opened", node=node.id, stream=key)
        try:
            await self._plane.changed(services)
        except BaseException:  # the client has left meanwhile, and nobody else would know
            self.closed(admitted)
            raise
        stream.snapshots.set(self._plane.snapshot(node))
        return admitted

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """Count and log what happens on a stream."""
        self._plane.fleet.observe(stream.key, effect)
        self._plane.metrics.observe(effect)
        if isinstance(effect, Acknowledged):
            self._acknowledged(stream.key)
        if isinstance(effect, Nacked):
            known = self._plane.fleet.streams.get(stream.key)
            node = known.node.id if known else "-"
            log.error(
                "proxy refused a change, it keeps its last good configuration",
                node=node,
                type=effect.type_url.rpartition(".")[2],
                resources=effect.names[:10],
                error=effect.error,
            )

    def closed(self, stream: Admitted) -> None:
        """Take the end of a stream: its instance's grace begins."""
        known = self._plane.fleet.streams.get(stream.key)
        self._plane.fleet.closed(stream.key)
        self._plane.answered(stream.key)
        self._plane.metrics.streams.dec()
        if known is not None:
            log.info("stream ended", node=known.node.id, stream=stream.key)
            now = self._plane.now()
            self._follow(self._plane.registry.disconnected(known.node.id, stream.key, now))

    async def admit_health(self, info: StreamInfo) -> AdmittedHealth:
        """Take an Envoy's health stream."""
        node = self._node(info)
        self._last += 1
        self._health[self._last] = node
        specifier = self._plane.specifiers.setdefault(node.id, Latest(b""))
        specifier.set(self._plane.specifier(node))
        return AdmittedHealth(self._last, specifier)

    def health(self, stream: AdmittedHealth, healthy: bool | None) -> None:
        """Take a report; only a change goes further."""
        node = self._health[stream.key]
        entry = self._plane.registry.entries.get(node.id)
        own = entry is not None and entry.node.service == node.service
        if entry is not None and own and healthy is not None and entry.healthy != healthy:
            log.info("health changed", instance=node.id, healthy=healthy)
            self._follow(self._plane.registry.health(node.id, healthy))

    def health_closed(self, stream: AdmittedHealth) -> None:
        """Take the end of a health stream: the last result stays, the instance's life is its ADS stream's business."""
        self._health.pop(stream.key, None)

    def _acknowledged(self, key: int) -> None:
        """Take that a stream has answered all of a snapshot; only the newest one counts."""
        known = self._plane.fleet.streams.get(key)
        if known is not None and known.answered:
            self._plane.answered(key)

    def _node(self, info: StreamInfo) -> Node:
        """Return the node behind a stream, or refuse it."""
        source = self._plane.mesh
        if source is None:
            self._refuse("no mesh is applied yet")
        try:
            node = node_of(info.node_id, info.metadata)
        except BadNode as error:
            self._refuse(str(error))
        if (why := refusal(node, info.peer, source.mesh.trust_domain)) is not None:
            self._refuse(why)
        if node.service != names.GATEWAY and node.service not in source.mesh.services:
            self._refuse(f"node {node.id!r}: no service {node.service!r} in mesh {source.mesh.mesh!r}")
        return node

    def _refuse(self, reason: str) -> NoReturn:
        self._plane.metrics.refused.inc()
        log.warning("stream refused", reason=reason)
        raise Refused(reason)

    def _follow(self, services: frozenset[str]) -> None:
        """Let a change take its course; the stream that brought it does not wait."""
        task = asyncio.ensure_future(self._plane.changed(services))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
