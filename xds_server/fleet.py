"""The streams that are up: what each node should have, and what it has said to that. No I/O."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from legation.mesh.instance import InstanceSpec
from legation.runtime.tasks import Latest, Moves
from xds_server.protocol.types import Acknowledged, Effect, Nacked
from xds_server.snapshot import NOTHING, Snapshot


@dataclass(slots=True)
class Stream:
    """One ADS stream of a node, its certificate's serial; `acknowledged` is the newest snapshot answered whole."""

    node: InstanceSpec
    snapshots: Latest[Snapshot]
    serial: str | None = None
    acknowledged: Snapshot | None = None
    nacks: Mapping[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """Where in mesh.yaml the newest NACKed response of each type came from."""

    @property
    def synced(self) -> bool:
        """Whether the node runs exactly what it should."""
        return self.acknowledged is self.snapshots.value and not self.nacks

    @property
    def rejections(self) -> tuple[str, ...]:
        """What the proxy NACKs now, a line a type: the places in mesh.yaml, the type, Envoy's words."""
        return tuple(
            ": ".join([*(str(s) for s in self.sources.get(url, ())[:1]), url.rpartition(".")[2], error])
            for url, error in self.nacks.items()
        )

    @property
    def answered(self) -> bool:
        """Whether the node has answered what it should have, by ACK or NACK."""
        return self.acknowledged is self.snapshots.value


class Fleet:
    """All ADS streams, by key."""

    def __init__(self) -> None:
        """Start without a stream."""
        self.streams: dict[int, Stream] = {}
        self._of_service: dict[str, set[int]] = {}
        self._of_instance: dict[str, set[int]] = {}
        self._behind: set[int] = set()
        """Streams that have not answered what they should have."""
        self._last = 0
        self._moves = Moves()

    def opened(self, node: InstanceSpec, serial: str | None = None) -> tuple[int, Stream]:
        """Take a new stream."""
        self._last += 1
        stream = self.streams[self._last] = Stream(node, Latest(NOTHING), serial)
        self._behind.add(self._last)
        self._of_service.setdefault(node.service, set()).add(self._last)
        self._of_instance.setdefault(node.id, set()).add(self._last)
        return self._last, stream

    def tell(self, key: int, snapshot: Snapshot) -> None:
        """Give a stream what its node should have from now on."""
        stream = self.streams[key]
        if snapshot is not stream.acknowledged:
            self._behind.add(key)
        stream.snapshots.set(snapshot)

    def observe(self, key: int, effect: Effect) -> bool:
        """Take what a stream's core saw; say whether it has now answered the newest that it was told."""
        if not isinstance(effect, Acknowledged | Nacked) or (stream := self.streams.get(key)) is None:
            return False
        if isinstance(effect, Nacked):
            stream.sources[effect.type_url] = effect.sources
            return False
        stream.acknowledged, stream.nacks = effect.snapshot, effect.nacks
        if stream.answered:
            self._behind.discard(key)
        self._moves.moved()
        return stream.answered

    def nodes(self) -> tuple[InstanceSpec, ...]:
        """Return the nodes of all streams."""
        return tuple(stream.node for stream in self.streams.values())

    def closed(self, key: int) -> InstanceSpec | None:
        """Forget a stream; return whose it was."""
        stream = self.streams.pop(key, None)
        if stream is not None:
            _forget(self._of_service, stream.node.service, key)
            _forget(self._of_instance, stream.node.id, key)
            self._behind.discard(key)
        self._moves.moved()
        return stream.node if stream is not None else None

    def keys_of(self, services: Iterable[str]) -> tuple[int, ...]:
        """Return the keys of the streams of nodes of these services."""
        return tuple(key for service in services for key in self._of_service.get(service, ()))

    def of(self, services: Iterable[str]) -> tuple[Stream, ...]:
        """Return the streams of nodes of these services."""
        return tuple(self.streams[key] for key in self.keys_of(services))

    def of_instance(self, instance: str) -> tuple[Stream, ...]:
        """Return the streams of one instance."""
        return tuple(self.streams[key] for key in self._of_instance.get(instance, ()))

    def with_certificates(self, serials: Collection[str]) -> tuple[Stream, ...]:
        """Return the streams that were opened with one of these certificates."""
        return tuple(stream for stream in self.streams.values() if stream.serial in serials)

    async def converged(self, services: Collection[str], limit: float) -> tuple[str, ...]:
        """Wait until all nodes of these services have answered what they should have; return those that have not."""
        await self._moves.until(lambda: not any(self._behind_of(services)), limit)
        return tuple(sorted({node.id for node in self._behind_of(services)}))

    async def until(self, done: Callable[[], bool], limit: float) -> bool:
        """Look after each answer until it is done (True) or `limit` seconds have passed (False)."""
        return await self._moves.until(done, limit)

    def _behind_of(self, services: Collection[str]) -> Iterator[InstanceSpec]:
        behind = (self.streams[key].node for key in self._behind)
        return (node for node in behind if node.service in services)


def _forget(index: dict[str, set[int]], name: str, key: int) -> None:
    index[name].discard(key)
    if not index[name]:
        del index[name]
