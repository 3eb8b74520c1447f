"""What one proxy should have: immutable sets of resources, each with its content's hash for a version."""

import math
from collections.abc import Callable, Iterable, Mapping
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
_PORTION = 2047
"""Bytes hashed at once: for more hashlib lets go of Python's lock and takes it back (HASHLIB_GIL_MINSIZE). A thread
that does so all the time is never made to hand it over, and the event loop waits for it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: its proto, serialised deterministically, once, for every node that gets it.

    In parts, which several resources may share: protos in a row are one, merged (Protocol Buffers,
    "Last One Wins"). `source` is where the resource comes from, for whoever made it to recognise in a
    NACK. With `ttl` a client forgets the resource when it has not heard of it for so long (xDS
    protocol, "TTL"); the server says in time that it is still there.
    """

    type_url: str
    name: str
    parts: tuple[bytes, ...] = field(repr=False, compare=False)
    version: str
    source: object = field(default=None, compare=False)
    ttl: timedelta | None = None
    size: int = field(init=False, repr=False, compare=False)
    """Bytes of `wire`."""
    digest: int = field(init=False, repr=False, compare=False)
    """Name and version as a number: what a resource adds to the version of the set that holds it."""
    _head: bytes = field(init=False, repr=False, compare=False)
    """What precedes the parts in `wire`."""
    _own: int = field(init=False, repr=False, compare=False)
    """Where in that the resource proper begins, as an Any in its field; the version is before it."""

    def __post_init__(self) -> None:
        """Serialise what surrounds the proto."""
        length = sum(map(len, self.parts))
        body_head = _bytes_head(1, len(self.type_url.encode())) + self.type_url.encode() + _bytes_head(2, length)
        any_head = _bytes_head(2, len(body_head) + length) + body_head
        version = _bytes_field(1, self.version.encode())
        inner = len(version) + len(any_head) + length + len(self._tail())
        element = _bytes_head(2, inner) + version
        object.__setattr__(self, "_head", element + any_head)
        object.__setattr__(self, "_own", len(element))
        object.__setattr__(self, "size", len(element) + inner - len(version))
        digest = blake2b(f"{self.name}\0{self.version}".encode(), digest_size=_DIGEST).digest()
        object.__setattr__(self, "digest", int.from_bytes(digest))

    @classmethod
    def of(
        cls,
        type_url: str,
        name: str,
        body: bytes | tuple[bytes, ...],
        source: object = None,
        ttl: timedelta | None = None,
    ) -> "Resource":
        """Return a resource whose version is the hash of its content (equal on every replica)."""
        parts = body if isinstance(body, tuple) else (body,)
        content = blake2b(digest_size=_DIGEST, key=b"" if ttl is None else str(ttl).encode())
        for part in parts:
            for start in range(0, len(part), _PORTION):
                content.update(part[start : start + _PORTION])
        return cls(type_url, name, parts, content.hexdigest(), source, ttl)

    @classmethod
    def pack(cls, message: Message, source: object = None, ttl: timedelta | None = None) -> "Resource":
        """Return an Envoy proto as a resource, under its own name; ValueError when it has none."""
        name = getattr(message, "name", "") or getattr(message, "cluster_name", "")
        if not name:
            raise ValueError(f"a {message.DESCRIPTOR.full_name} without a name is no xDS resource")
        body = message.SerializeToString(deterministic=True)
        return cls.of(f"{TYPE_PREFIX}{message.DESCRIPTOR.full_name}", name, body, source, ttl)

    @property
    def body(self) -> bytes:
        """The serialised proto."""
        return b"".join(self.parts)

    @property
    def wire(self) -> bytes:
        """The whole element of a DeltaDiscoveryResponse's `resources`: a response is made by joining such."""
        return b"".join((self._head, *self.parts, self._tail()))

    @property
    def any(self) -> bytes:
        """The element of a (state-of-the-world) DiscoveryResponse's `resources`, which is the same field."""
        return b"".join((self._head[self._own :], *self.parts))

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

    __slots__ = ("__weakref__", "_names", "_ttl", "_version", "since", "whole")

    def __init__(self, resources: Mapping[str, Resource] | Iterable[tuple[str, Resource]] = ()) -> None:
        """Hold these."""
        super().__init__(resources)
        self.since: Any = None
        """Where the protocol core keeps what differs from the set before (`protocol.difference`)."""
        self.whole: Any = None
        """And where it refers to the whole of it."""

    @property
    def names(self) -> frozenset[str]:
        """The names, as one value for all streams that ask for just these."""
        try:
            return self._names
        except AttributeError:
            self._names: frozenset[str] = frozenset(self)
            return self._names

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


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that one node should have, by type URL and name."""

    by_type: Mapping[str, Resources]
    later: Mapping[str, Callable[[], Resources]] = field(default_factory=dict, repr=False)
    """Types that are made when somebody asks for them; each call returns the same object."""

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

    def __eq__(self, other: object) -> bool:
        """Compare all resources, those too that nobody has asked for."""
        if not isinstance(other, Snapshot):
            return NotImplemented
        return all(self.of_type(url) == other.of_type(url) for url in self.types() | other.types())

    __hash__ = None  # type: ignore[assignment]  # as of any mapping

    def of_type(self, type_url: str) -> Resources:
        """Return the resources of one type, by name; empty where there are none."""
        found = self.by_type.get(type_url)
        if found is not None:
            return found
        make = self.later.get(type_url)
        return NO_RESOURCES if make is None else make()

    def types(self) -> frozenset[str]:
        """Return the types that there are."""
        return frozenset(self.by_type) | frozenset(self.later)


NOTHING = Snapshot({})


def version_of(resources: Iterable[Resource]) -> str:
    """Return the version of a set of resources of one type: a sum, so that their order is all the same."""
    return f"{sum(resource.digest for resource in resources) % (1 << 8 * _DIGEST):016x}"


def _bytes_field(number: int, content: bytes) -> bytes:
    """Return one length-delimited protobuf field (Protocol Buffers, "Encoding"); `number` is below 16."""
    return _bytes_head(number, len(content)) + content


def _bytes_head(number: int, length: int) -> bytes:
    """Return what precedes the content of such a field."""
    size = bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2, *size, length))


def _duration(time: timedelta) -> bytes:
    proto = Duration()
    proto.FromTimedelta(time)
    return proto.SerializeToString()
