"""What one proxy should have: immutable sets of resources, each with its content's hash for a version."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from legation.mesh.errors import Position

TYPE_PREFIX = "type.googleapis.com/"
CLUSTER = f"{TYPE_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{TYPE_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER = f"{TYPE_PREFIX}envoy.config.listener.v3.Listener"
ROUTE = f"{TYPE_PREFIX}envoy.config.route.v3.RouteConfiguration"

_EMPTY: Mapping[str, "Resource"] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: `body` is its proto, serialised deterministically, once, for every node that gets it.

    `wire` is the whole element of a DeltaDiscoveryResponse's `resources`, so that a response is
    made by joining bytes that all streams share.
    """

    type_url: str
    name: str
    body: bytes = field(repr=False)
    version: str
    source: Position | None = field(default=None, compare=False)
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Serialise the element once."""
        packed = _bytes_field(1, self.type_url.encode()) + _bytes_field(2, self.body)
        element = _bytes_field(1, self.version.encode()) + _bytes_field(2, packed) + _bytes_field(3, self.name.encode())
        object.__setattr__(self, "wire", _bytes_field(2, element))

    @classmethod
    def of(cls, type_url: str, name: str, body: bytes, source: Position | None = None) -> "Resource":
        """Return a resource whose version is the hash of its content (equal on every replica)."""
        return cls(type_url, name, body, blake2b(body, digest_size=8).hexdigest(), source)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one node should have, by type URL and name."""

    by_type: Mapping[str, Mapping[str, Resource]]

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> "Snapshot":
        """Return the snapshot that holds these resources."""
        by_type: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            by_type.setdefault(resource.type_url, {})[resource.name] = resource
        return cls(by_type)

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of one type, by name; empty where there are none."""
        return self.by_type.get(type_url, _EMPTY)


NOTHING = Snapshot({})


def _bytes_field(number: int, content: bytes) -> bytes:
    """Return one length-delimited protobuf field (Protocol Buffers, "Encoding"); `number` is below 16."""
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2, *size, length)) + content
