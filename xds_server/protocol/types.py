"""The values of an xDS conversation: what a client asks, what we send, and what is worth observing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.protocol.difference import Change
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPE_PREFIX, Resource, Snapshot

_CORE = f"{TYPE_PREFIX}envoy.config"
DISCOVERY_TYPES = frozenset(
    {
        CLUSTER,
        ENDPOINT,
        LISTENER,
        ROUTE,
        SECRET,
        f"{_CORE}.route.v3.ScopedRouteConfiguration",
        f"{_CORE}.route.v3.VirtualHost",
        f"{_CORE}.core.v3.TypedExtensionConfig",
        f"{TYPE_PREFIX}envoy.service.runtime.v3.Runtime",
    }
)
"""The types that Envoy discovers (xDS protocol, "Resource Types")."""

SHOWN = 100
"""Characters of a client's text that a message shows."""

WILDCARD = "*"
"""The name that subscribes to all resources of a type (xDS protocol, "Wildcard subscriptions")."""


class LimitExceeded(Exception):
    """A client asks for more than one stream may hold."""


class TooLarge(LimitExceeded):
    """All resources of a type together are larger than a response may be, and this variant cannot split them."""

    def __init__(self, type_url: str, size: int, limit: int) -> None:
        """Say what can be done."""
        super().__init__(
            f"all resources of {type_url} take {size} bytes, which state-of-the-world xDS has to send in one response "
            f"of at most {limit}: use the delta variant (api_type: DELTA_GRPC), which splits"
        )


class UnknownType(Exception):
    """A client asks for a type that is not served; the text shows the beginning of its URL."""

    def __init__(self, type_url: str) -> None:
        """Keep no more of the URL than a message may show."""
        shown = type_url if len(type_url) <= SHOWN else f"{type_url[:SHOWN]}... ({len(type_url)} characters)"
        super().__init__(f"type_url {shown} is not served: known are {', '.join(sorted(DISCOVERY_TYPES))}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may cost us. Numbers are per stream unless they say otherwise."""

    names: int = 50_000
    """Names that a client may have subscribed to, over all types."""
    name_characters: int = 4 << 20
    """Characters in all of those names together."""
    types: int = 32
    """Types that a client may ask for."""
    type_urls: frozenset[str] = DISCOVERY_TYPES
    """Those types; a server of other resources than Envoy's names its own."""
    error_characters: int = 4096
    """Of a NACK's error that are kept."""
    unanswered: int = 64
    """Responses of one type without an ACK or NACK; later changes wait, and coalesce."""
    response_bytes: int = 3 << 20
    """Size above which a response is split: below the 4 MiB that gRPC clients take by default."""
    whole_bytes: int = 4 << 20
    """Size that a response which cannot be split may have, or its stream ends: what gRPC clients take by default."""


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
class SotwRequest:
    """One (state-of-the-world) DiscoveryRequest without its node: all names that the client wants.

    `version` is that of the last response that it accepted. `error` is None when there is no error_detail at all.
    """

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """One response to write. Both tuples empty: "there is nothing", said aloud.

    `version` names the state of the type. A `heartbeat` only renews the TTL of its resources.
    """

    type_url: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    nonce: str
    version: str = ""
    heartbeat: bool = False
    shared: Change | None = field(default=None, repr=False, compare=False)
    """What `resources` are, where other streams are sent just the same."""

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

    `sources` are those of the response's resources: where they come from, as whoever made them has noted.
    """

    type_url: str
    nonce: str
    names: tuple[str, ...]
    error: str
    sources: tuple[object, ...] = ()


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

    `nacks` are the errors of what it NACKs, by type; empty means that it runs exactly this
    snapshot (as far as it asks for it).
    """

    snapshot: Snapshot
    nacks: Mapping[str, str]


Effect = Send | Acked | Nacked | Stale | Subscribed | Acknowledged
"""All that a stream lets its observer see."""
