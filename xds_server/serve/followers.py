"""Who has followed the newest snapshot, and who has not: convergence of one server's streams."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from legation.runtime.tasks import Moves
from xds_server.serve.info import StreamInfo

_NAMED = 10
"""Streams that a message names."""


@dataclass(frozen=True, slots=True)
class Unsynced:
    """One stream whose client does not have what it should, and why."""

    node: str
    service: str
    reason: str

    def __str__(self) -> str:
        """Return a line."""
        return f"{self.node} ({self.service}) {self.reason}"


class NotConverged(TimeoutError):
    """Some clients have not followed: in time, or at all."""

    def __init__(self, unsynced: tuple[Unsynced, ...]) -> None:
        """Keep all of them, name the first."""
        self.unsynced = unsynced
        more = f", and {len(unsynced) - _NAMED} more" if len(unsynced) > _NAMED else ""
        super().__init__("; ".join(map(str, unsynced[:_NAMED])) + more)


class Follower(Protocol):
    """What is asked of a stream."""

    info: StreamInfo

    @property
    def answered(self) -> bool:
        """Whether the client has answered all of the newest snapshot."""
        ...

    @property
    def nacks(self) -> Mapping[str, str]:
        """What it NACKs."""
        ...

    def promised(self) -> frozenset[str]:
        """Return the names of the clusters that it was sent and whose endpoints it should ask for."""
        ...

    def asked_endpoints(self) -> frozenset[str]:
        """Return the names whose endpoints it asks for."""
        ...

    @property
    def reason(self) -> str:
        """Why it has not followed; empty when it has."""
        ...


class Followers:
    """The streams of a server."""

    def __init__(self) -> None:
        """Start without one."""
        self._all: dict[Follower, None] = {}
        self._moves = Moves()

    @contextmanager
    def one(self, follower: Follower) -> Iterator[None]:
        """Count a stream while the block runs."""
        self._all[follower] = None
        try:
            yield
        finally:
            del self._all[follower]
            self.moved()

    def moved(self) -> None:
        """Take that a stream has answered all of its snapshot, or has ended."""
        self._moves.moved()

    def nodes(self) -> frozenset[str]:
        """Return the ids of the nodes that have a stream."""
        return frozenset(follower.info.node_id for follower in self._all)

    def unsynced(self) -> tuple[Unsynced, ...]:
        """Return the streams whose clients do not have the newest snapshot."""
        behind = [f for f in self._all if f.nacks or not f.answered]
        return (*(Unsynced(f.info.node_id, f.info.service, f.reason) for f in behind), *self._without_endpoints())

    async def converged(self, limit: float) -> None:
        """Wait until all have; NotConverged after `limit` seconds, or once all have answered and some refuse."""
        await self._moves.until(self._answered, limit)
        if unsynced := self.unsynced():
            raise NotConverged(unsynced)

    def _answered(self) -> bool:
        return all(follower.answered for follower in self._all) and not self._without_endpoints()

    def _without_endpoints(self) -> tuple[Unsynced, ...]:
        """Return the nodes that have clusters over a stream of their own, and do not ask for their endpoints yet.

        Envoy ACKs such a cluster before it is warm, and then opens another stream for its endpoints.
        """
        alone = [f for f in self._all if f.info.service == "cds"]
        if not alone:
            return ()
        asked: defaultdict[str, set[str]] = defaultdict(set)
        for follower in self._all:
            asked[follower.info.node_id] |= follower.asked_endpoints()
        missing = ((f.info, sorted(f.promised() - asked[f.info.node_id])) for f in alone)
        return tuple(
            Unsynced(info.node_id, "eds", f"has not asked for the endpoints of {', '.join(names[:_NAMED])}")
            for info, names in missing
            if names
        )
