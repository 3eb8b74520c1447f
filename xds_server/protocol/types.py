"""The values of an xDS conversation: what a client asks, what we send, and what is worth observing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from legation.mesh.errors import Position
from xds_server.snapshot import Resource, Snapshot

WILDCARD = "*"
"""The name that subscribes to all resources of a type (xDS protocol, "Wildcard subscriptions")."""


class LimitExceeded(Exception):
    """A client asks for more than one stream may hold."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may cost us. Numbers are per stream unless they say otherwise."""

    names: int = 50_000
    """Names that a client may have subscribed to, over all types."""
    name_characters: int = 4 << 20
    """Characters in all of those names together."""
    types: int = 32
    """Types that a client may ask for."""
    unanswered: int = 64
    """Responses of one type without an ACK or NACK; later changes wait, and coalesce."""
    response_bytes: int = 3 << 20
    """Size above which a response is split: below the 4 MiB that gRPC clients take by default."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One DeltaDiscoveryRequest without its node. `error` is None when there is no error_detail at all."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """One response to write. Both tuples empty: "there is nothing", said aloud."""

    type_url: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    nonce: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the response speaks of."""
        return (*(resource.name for resource in self.resources), *self.removed)


@dataclass(frozen=True, slots=True)
class Acked:
    """The client applied a response; `names` are what it spoke of."""

    type_url: str
    nonce: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client NACKed a response, in whole or in part: nothing says which of `names` it applied.

    `sources` are the places in mesh.yaml that the response came from.
    """

    type_url: str
    nonce: str
    names: tuple[str, ...]
    error: str
    sources: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """An answer to a response that we never sent on this stream, or that was answered before."""

    type_url: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client changed what it wants of a type."""

    type_url: str
    subscribed: tuple[str, ...]
    unsubscribed: tuple[str, ...]
    wildcard: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client has answered all that it should have of `snapshot`.

    `nacks` are the errors of what it refuses, by type; empty means that it runs exactly this
    snapshot (as far as it asks for it).
    """

    snapshot: Snapshot
    nacks: Mapping[str, str]


Effect = Send | Acked | Nacked | Stale | Subscribed | Acknowledged
"""All that a stream lets its observer see."""
