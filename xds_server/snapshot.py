"""What one proxy should have: immutable sets of resources, each with its content's hash for a version."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

TYPE_PREFIX = "type.googleapis.com/"
CLUSTER = f"{TYPE_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{TYPE_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER = f"{TYPE_PREFIX}envoy.config.listener.v3.Listener"
ROUTE = f"{TYPE_PREFIX}envoy.config.route.v3.RouteConfiguration"

_DIGEST = 8
"""Bytes of a version."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: `body` is its proto, serialised deterministically, once, for every node that gets it.

    `wire` is the whole element of a DeltaDiscoveryResponse's `resources`, so that a response is
    made by joining bytes that all streams share. `source` is where the resource comes from, for
    whoever made it to recognise in a NACK. With `ttl` a client forgets the resource when it has
    not heard of it for so long (xDS protocol, "TTL"); the server says in time that it is still there.
    """

    type_url: str
    name: str
    body: bytes = field(repr=False)
    version: str
    source: object = field(default=None, compare=False)
    ttl: timedelta | None = None
    wire: bytes = field(init=False, repr=False, compare=False)
    digest: int = field(init=False, repr=False, compare=False)
    """Name and version as a number: what a resource adds to the version of the set that holds it."""
    _packed: int = field(init=False, repr=False, compare=False)
    """Length of the resource proper, as an Any in its field, within `wire`."""

    def __post_init__(self) -> None:
        """Serialise the element once."""
        packed = _bytes_field(2, _bytes_field(1, self.type_url.encode()) + _bytes_field(2, self.body))
        element = _bytes_field(1, self.version.encode()) + packed + self._tail()
        object.__setattr__(self, "wire", _bytes_field(2, element))
        object.__setattr__(self, "_packed", len(packed))
        digest = blake2b(f"{self.name}\0{self.version}".encode(), digest_size=_DIGEST).digest()
        object.__setattr__(self, "digest", int.from_bytes(digest))

    @classmethod
    def of(
        cls, type_url: str, name: str, body: bytes, source: object = None, ttl: timedelta | None = None
    ) -> "Resource":
        """Return a resource whose version is the hash of its content (equal on every replica)."""
        lasting = b"" if ttl is None else str(ttl).encode()
        return cls(type_url, name, body, blake2b(body, digest_size=_DIGEST, key=lasting).hexdigest(), source, ttl)

    @classmethod
    def pack(cls, message: Message, source: object = None, ttl: timedelta | None = None) -> "Resource":
        """Return an Envoy proto as a resource, under its own name; ValueError when it has none."""
        name = getattr(message, "name", "") or getattr(message, "cluster_name", "")
        if not name:
            raise ValueError(f"a {message.DESCRIPTOR.full_name} without a name is no xDS resource")
        body = message.SerializeToString(deterministic=True)
        return cls.of(f"{TYPE_PREFIX}{message.DESCRIPTOR.full_name}", name, body, source, ttl)

    @property
    def any(self) -> memoryview:
        """The element of a (state-of-the-world) DiscoveryResponse's `resources`: the same field, and shared bytes."""
        end = len(self.wire) - len(self._tail())
        return memoryview(self.wire)[end - self._packed : end]

    @property
    def heartbeat(self) -> bytes:
        """The element of a DeltaDiscoveryResponse that only renews the TTL: all but the resource itself."""
        return _bytes_field(2, _bytes_field(1, self.version.encode()) + self._tail())

    def _tail(self) -> bytes:
        """Return what follows the resource itself in its element: name and TTL."""
        name = _bytes_field(3, self.name.encode())
        return name if self.ttl is None else name + _bytes_field(6, _duration(self.ttl))


class Resources(dict[str, Resource]):
    """The resources of one type, by name. Filled once and never changed, as streams share it."""

    __slots__ = ("__weakref__", "_ttl", "_version", "since")

    def __init__(self, resources: Mapping[str, Resource] | Iterable[tuple[str, Resource]] = ()) -> None:
        """Hold these."""
        super().__init__(resources)
        self.since: Any = None
        """Where the protocol core keeps what differs from the set before (`protocol.difference`)."""

    @property
    def version(self) -> str:
        """What names this state of the type: equal wherever the same resources are, in whatever order they came."""
        try:
            return self._version
        except AttributeError:
            self._version: str = version_of(self.values())
            return self._version

    @property
    def ttl(self) -> float:
        """The shortest TTL among them, in seconds; infinite when none has one."""
        try:
            return self._ttl
        except AttributeError:
            self._ttl: float = min((r.ttl.total_seconds() for r in self.values() if r.ttl), default=math.inf)
            return self._ttl


NO_RESOURCES = Resources()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one node should have, by type URL and name."""

    by_type: Mapping[str, Resources]

    @classmethod
    def of(
        cls,
        resources: Iterable[Resource] = (),
        *,
        clusters: Iterable[Message] = (),
        endpoints: Iterable[Message] = (),
        listeners: Iterable[Message] = (),
        routes: Iterable[Message] = (),
        secrets: Iterable[Message] = (),
    ) -> "Snapshot":
        """Return the snapshot that holds these resources and these Envoy protos.

        ValueError for a proto without a name, or two resources of one type and name.
        """
        by_type: dict[str, Resources] = {}
        protos = (*clusters, *endpoints, *listeners, *routes, *secrets)
        for resource in (*resources, *map(Resource.pack, protos)):
            of_type = by_type.setdefault(resource.type_url, Resources())
            if resource.name in of_type:
                raise ValueError(f"two resources of {resource.type_url} are named {resource.name!r}")
            of_type[resource.name] = resource
        return cls(by_type)

    @property
    def ttl(self) -> float | None:
        """The shortest TTL of all resources, in seconds; None when they are kept for ever."""
        shortest = min((resources.ttl for resources in self.by_type.values()), default=math.inf)
        return None if shortest == math.inf else shortest

    def of_type(self, type_url: str) -> Resources:
        """Return the resources of one type, by name; empty where there are none."""
        return self.by_type.get(type_url, NO_RESOURCES)


NOTHING = Snapshot({})


def version_of(resources: Iterable[Resource]) -> str:
    """Return the version of a set of resources of one type: a sum, so that their order is all the same."""
    return f"{sum(resource.digest for resource in resources) % (1 << 8 * _DIGEST):016x}"


def _bytes_field(number: int, content: bytes) -> bytes:
    """Return one length-delimited protobuf field (Protocol Buffers, "Encoding"); `number` is below 16."""
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2, *size, length)) + content


def _duration(time: timedelta) -> bytes:
    proto = Duration()
    proto.FromTimedelta(time)
    return proto.SerializeToString()
