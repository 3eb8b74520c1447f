"""Who has followed the newest snapshot, and who has not: convergence of one server's streams."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from legation.runtime.tasks import Moves
from xds_server.protocol.references import FOLLOWERS
from xds_server.serve.info import StreamInfo
from xds_server.snapshot import CLUSTER, LISTENER

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

    def promised(self, type_url: str) -> frozenset[str]:
        """Return what the client should ask for by what it has ACKed of a type: endpoints, or routes."""
        ...

    def asked(self, type_url: str) -> frozenset[str]:
        """Return the names of a type that it asks for."""
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
        return (*(Unsynced(f.info.node_id, f.info.service, f.reason) for f in behind), *self._unasked())

    async def converged(self, limit: float) -> None:
        """Wait until all have; NotConverged after `limit` seconds, or once all have answered and some refuse."""
        await self._moves.until(self._answered, limit)
        if unsynced := self.unsynced():
            raise NotConverged(unsynced)

    def _answered(self) -> bool:
        return all(follower.answered for follower in self._all) and not self._unasked()

    def _unasked(self) -> tuple[Unsynced, ...]:
        """Return the nodes that have clusters or listeners over a stream of their own, and not all that these need.

        Envoy ACKs such a one before it is warm, and then opens another stream for its endpoints or routes.
        """
        needing = [(f, need) for f in self._all if (need := _NEEDS.get(f.info.service)) is not None]
        asked = self._asked_by_node() if needing else {}
        missing = (
            (f.info.node_id, n, sorted(f.promised(n.type_url) - asked[f.info.node_id, n.of])) for f, n in needing
        )
        return tuple(
            Unsynced(node, need.service, f"has not asked for the {need.what} of {', '.join(names[:_NAMED])}")
            for node, need, names in missing
            if names
        )

    def _asked_by_node(self) -> Mapping[tuple[str, str], set[str]]:
        """Return what each node asks for, on all of its streams, of the types that follow others."""
        asked: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for follower in self._all:
            for kind in FOLLOWERS.values():
                asked[follower.info.node_id, kind] |= follower.asked(kind)
        return asked


@dataclass(frozen=True, slots=True)
class _Need:
    """What the client of a stream of one type has to ask for on another."""

    type_url: str
    service: str
    what: str

    @property
    def of(self) -> str:
        """The type that it has to ask for."""
        return FOLLOWERS[self.type_url]


_NEEDS = {"cds": _Need(CLUSTER, "eds", "endpoints"), "lds": _Need(LISTENER, "rds", "routes")}
