"""What each node should have, set by whoever uses xds_server as a library: the ready-made source of a server."""

from collections import Counter
from collections.abc import Callable
from itertools import count

from legation.runtime.tasks import Latest
from xds_server.protocol.types import Effect
from xds_server.serve.info import StreamInfo
from xds_server.serve.stream import Admitted
from xds_server.snapshot import Snapshot


def by_id(node: StreamInfo) -> str:
    """Tell nodes apart by their ids."""
    return node.node_id


class SnapshotCache:
    """Snapshots by node. All methods run on the event loop of the server that serves them.

    `key` says of a node which snapshot is for it: its id, or whatever nodes that get the same have in
    common (`lambda node: node.cluster`). A client for which nothing is set waits, and keeps what it has.
    """

    def __init__(self, key: Callable[[StreamInfo], str] = by_id) -> None:
        """Start with nothing set."""
        self._key = key
        self._snapshots: dict[str, Latest[Snapshot | None]] = {}
        self._streams: dict[int, str] = {}
        self._open: Counter[str] = Counter()
        self._numbers = count(1)

    def set(self, key: str, snapshot: Snapshot) -> None:
        """Give a snapshot to the nodes of a key, connected or not: what differs from the one before is sent."""
        self._latest(key).set(snapshot)

    def get(self, key: str) -> Snapshot | None:
        """Return what is set for a key."""
        latest = self._snapshots.get(key)
        return None if latest is None else latest.value

    def clear(self, key: str) -> None:
        """Forget a key: nothing more is sent to its nodes, and they keep what they have. Unset keys are fine."""
        if (latest := self._snapshots.get(key)) is not None:
            latest.set(None)
            self._drop_unused(key)

    def connected(self) -> frozenset[str]:
        """Return the keys of the nodes that have a stream now."""
        return frozenset(self._open)

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take a stream."""
        number, key = next(self._numbers), self._key(info)
        self._streams[number] = key
        self._open[key] += 1
        return Admitted(number, self._latest(key))

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """See what happens on a stream: nothing follows from that here."""

    def closed(self, stream: Admitted) -> None:
        """Take the end of a stream."""
        key = self._streams.pop(stream.key)
        self._open[key] -= 1
        self._drop_unused(key)

    def _latest(self, key: str) -> Latest[Snapshot | None]:
        return self._snapshots.setdefault(key, Latest(None))

    def _drop_unused(self, key: str) -> None:
        if not self._open[key]:
            del self._open[key]
            if self.get(key) is None:
                self._snapshots.pop(key, None)
