"""Who may have a stream, and what the control plane learns from it: the consumer side of `serve`."""

from dataclasses import replace
from typing import NoReturn

import structlog

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from xds_server import Admitted, AdmittedHealth, Effect, Nacked, Rejected, StreamInfo
from xds_server.compile.older import lacking, losses
from xds_server.control_plane import ControlPlane
from xds_server.identify import BadNode, instance_of, rejection
from xds_server.registry.registry import ForeignId, StaleBoot

log = structlog.get_logger()


class Admission:
    """Admits the streams of one control plane; a stream is its instance's registration."""

    def __init__(self, plane: ControlPlane) -> None:
        """Speak for a control plane."""
        self._plane = plane
        self._nodes: dict[int, InstanceSpec] = {}
        self._health: dict[int, InstanceSpec] = {}
        self._last = 0

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take an Envoy's stream: its node must be what its certificate says."""
        node = self._node(info)
        try:
            key, snapshots = await self._plane.connected(node, str(info.peer), info.serial)
        except StaleBoot:
            self._reject(f"node {node.id!r}: a newer life of this instance is connected")
        except ForeignId as owner:
            self._reject(f"node {node.id!r}: this is the id of an instance of {owner}")
        if self._is_revoked(info):  # meanwhile
            self._plane.disconnected(key)
            self._reject_revoked(node, info)
        self._nodes[key] = node
        self._plane.metrics.streams.inc()
        log.info("stream opened", node=node.id, stream=key)
        if node.lacks:
            log.warning("proxy is older, or built with less", node=node.id, without=losses(node.lacks))
        return Admitted(key, snapshots)

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """Count and log what happens on a stream."""
        self._plane.observe(stream.key, effect)
        self._plane.metrics.observe(effect)
        if isinstance(effect, Nacked):
            log.error(
                "proxy NACKed a change, it keeps its last good configuration",
                node=self._nodes[stream.key].id,
                type=effect.type_url.rpartition(".")[2],
                resources=effect.names[:10],
                sources=[str(source) for source in effect.sources[:10]],
                error=effect.error,
            )

    def closed(self, stream: Admitted) -> None:
        """Take the end of a stream."""
        node = self._nodes.pop(stream.key)
        self._plane.disconnected(stream.key)
        self._plane.metrics.streams.dec()
        log.info("stream ended", node=node.id, stream=stream.key)

    async def admit_health(self, info: StreamInfo) -> AdmittedHealth:
        """Take an Envoy's health stream."""
        node = self._node(info)
        self._last += 1
        self._health[self._last] = node
        return AdmittedHealth(self._last, self._plane.health_specifier(node))

    def health(self, stream: AdmittedHealth, healthy: bool | None) -> None:
        """Take a report."""
        self._plane.health(self._health[stream.key], healthy)

    def health_closed(self, stream: AdmittedHealth) -> None:
        """Take the end of a health stream: the last result stays, the instance's life is its ADS stream's business."""
        self._health.pop(stream.key, None)

    def _node(self, info: StreamInfo) -> InstanceSpec:
        """Return the instance behind a stream, or reject it."""
        source = self._plane.mesh
        if source is None:
            self._reject("no mesh is applied yet")
        try:
            node = instance_of(info.node_id, info.metadata)
        except BadNode as error:
            self._reject(str(error))
        if (why := rejection(node, info.peer, source.mesh.trust_domain)) is not None:
            self._reject(why)
        if node.service != names.GATEWAY and node.service not in source.mesh.services:
            self._reject(f"node {node.id!r}: no service {node.service!r} in mesh {source.mesh.mesh!r}")
        if self._is_revoked(info):
            self._reject_revoked(node, info)
        return replace(node, lacks=lacking(info.version, info.extensions))

    def _is_revoked(self, info: StreamInfo) -> bool:
        return info.serial in self._plane.publisher.revoked.serials

    def _reject_revoked(self, node: InstanceSpec, info: StreamInfo) -> NoReturn:
        self._plane.showed_revoked(node)
        self._reject(f"node {node.id!r}: its certificate {info.serial} is revoked; it may come back with another")

    def _reject(self, reason: str) -> NoReturn:
        self._plane.metrics.rejected.inc()
        log.warning("stream rejected", reason=reason)
        raise Rejected(reason)
