"""Bytes on the wire to protocol values, and back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from xds_server.protocol.difference import Change
from xds_server.protocol.types import SHOWN, DeltaRequest, Send, SotwRequest
from xds_server.snapshot import Resource

R_co = TypeVar("R_co", covariant=True)
M = TypeVar("M", bound=Message)

NODE_BYTES = 64 << 10
"""Size of a node's id, metadata and the rest: what is kept of each client."""

NONCE_TAG = 5 << 3 | 2
"""Of the nonce in both kinds of response; one is at most 20 digits, so its length is one byte."""
RESOURCE_IN_SOTW = "xds.config.resource-in-sotw"
"""The feature of clients that take wrapped resources in a DiscoveryResponse (Envoy, "Well Known Client Features")."""

_NO_VERSIONS: Mapping[str, str] = MappingProxyType({})
_NO_NODE = base_pb2.Node()


class Malformed(Exception):
    """A client sent what no client may send."""


class Codec(Protocol[R_co]):
    """How one variant of the protocol is written on the wire."""

    def decode(self, data: bytes, implied_type: str = "") -> tuple[R_co, base_pb2.Node]:
        """Return a request and its node (empty in all but the first of a stream).

        `implied_type` is the type of a single-type stream; "" is ADS, where the request must name it.
        Malformed on garbage, a missing or wrong type URL, or resource locators.
        """
        ...

    def encode(self, send: Send, features: Collection[str]) -> bytes:
        """Return a response: a few bytes of its own, and the resources' shared ones.

        `features` are those that the client's node names. A repeated field may be split over
        concatenated messages (Protocol Buffers, "Last One Wins").
        """
        ...

    def renews(self, features: Collection[str]) -> bool:
        """Return whether a client knows TTLs, and so has to hear in time that a resource is still there."""
        ...


class DeltaCodec:
    """Delta: DeltaDiscoveryRequest and DeltaDiscoveryResponse."""

    def decode(self, data: bytes, implied_type: str = "") -> tuple[DeltaRequest, base_pb2.Node]:
        """Return what a DeltaDiscoveryRequest says."""
        message = _parsed(DeltaDiscoveryRequest, data)
        if message.resource_locators_subscribe or message.resource_locators_unsubscribe:
            raise Malformed("resource locators are not served: use resource_names_subscribe")
        request = DeltaRequest(
            _type_url(message.type_url, implied_type),
            tuple(message.resource_names_subscribe),
            tuple(message.resource_names_unsubscribe),
            dict(message.initial_resource_versions) if message.initial_resource_versions else _NO_VERSIONS,
            message.response_nonce,
            message.error_detail.message if message.HasField("error_detail") else None,
        )
        return request, _bounded(message.node) if message.HasField("node") else _NO_NODE

    def encode(self, send: Send, features: Collection[str]) -> bytes:  # noqa: ARG002 - all clients know all of this
        """Return a DeltaDiscoveryResponse."""
        if send.shared is not None:
            return _shared(send, send.shared, "delta", lambda: self._encode(replace(send, nonce="")))
        return self._encode(send)

    def _encode(self, send: Send) -> bytes:
        head = DeltaDiscoveryResponse(
            type_url=send.type_url,
            nonce=send.nonce,
            removed_resources=send.removed,
            system_version_info=send.version,
        )
        resources = (resource.heartbeat if send.heartbeat else resource.wire for resource in send.resources)
        return b"".join((head.SerializeToString(), *resources))

    def renews(self, features: Collection[str]) -> bool:  # noqa: ARG002 - all clients know all of this
        """Return True: in delta all clients know TTLs."""
        return True


class SotwCodec:
    """State of the world: DiscoveryRequest and DiscoveryResponse."""

    def decode(self, data: bytes, implied_type: str = "") -> tuple[SotwRequest, base_pb2.Node]:
        """Return what a DiscoveryRequest says."""
        message = _parsed(DiscoveryRequest, data)
        if message.resource_locators:
            raise Malformed("resource locators are not served: use resource_names")
        request = SotwRequest(
            _type_url(message.type_url, implied_type),
            tuple(message.resource_names),
            message.version_info,
            message.response_nonce,
            message.error_detail.message if message.HasField("error_detail") else None,
        )
        return request, _bounded(message.node) if message.HasField("node") else _NO_NODE

    def encode(self, send: Send, features: Collection[str]) -> bytes:
        """Return a DiscoveryResponse. A TTL is only for clients that take resources in a wrapper of their own.

        xDS protocol, "TTL".
        """
        if send.shared is not None:
            how = "sotw, wrapped" if RESOURCE_IN_SOTW in features else "sotw"
            return _shared(send, send.shared, how, lambda: self._encode(replace(send, nonce=""), features))
        return self._encode(send, features)

    def _encode(self, send: Send, features: Collection[str]) -> bytes:
        head = DiscoveryResponse(type_url=send.type_url, nonce=send.nonce, version_info=send.version)
        wraps = self.renews(features)
        resources = (_wrapped(r, send) if wraps and r.ttl is not None else r.any for r in send.resources)
        return b"".join((head.SerializeToString(), *resources))

    def renews(self, features: Collection[str]) -> bool:
        """Return whether a client takes the wrapper in which a TTL is said."""
        return RESOURCE_IN_SOTW in features


def _shared(send: Send, change: Change, how: str, encode: Callable[[], bytes]) -> bytes:
    """Return a response that many streams are sent: its bytes are written once, each stream's nonce is added."""
    common = change.encoded.get(how)
    if common is None:
        common = encode()
        if change.is_common:
            change.encoded[how] = common
    nonce = send.nonce.encode()
    return b"%b%c%c%b" % (common, NONCE_TAG, len(nonce), nonce)


def _wrapped(resource: Resource, send: Send) -> bytes:
    """Return a resource with its TTL as an element of a DiscoveryResponse."""
    element = resource.heartbeat if send.heartbeat else resource.wire
    (inner,) = DeltaDiscoveryResponse.FromString(element).resources
    wrapped = DiscoveryResponse()
    wrapped.resources.add().Pack(inner, deterministic=True)
    data: bytes = wrapped.SerializeToString()
    return data


def _parsed(kind: type[M], data: bytes) -> M:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Malformed(f"the request is not a {kind.DESCRIPTOR.name}") from error


def _type_url(asked: str, implied: str) -> str:
    if not asked and not implied:
        raise Malformed("type_url is empty: an aggregated stream needs it in every request")
    if asked and implied and asked != implied:
        raise Malformed(f"type_url {asked[:SHOWN]} is not served on this stream, only {implied}")
    return asked or implied


def _bounded(node: base_pb2.Node) -> base_pb2.Node:
    if node.ByteSize() > NODE_BYTES:
        raise Malformed(f"the node has {node.ByteSize()} bytes; at most {NODE_BYTES} are taken")
    return node


def metadata(node: base_pb2.Node) -> Mapping[str, Any]:
    """Return a node's metadata as plain values; a Struct knows doubles alone, so whole numbers become int again.

    Malformed on numbers that are none.
    """
    try:
        values = MessageToDict(node.metadata)
    except ValueError as error:
        raise Malformed(f"the node's metadata: {error}") from error
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
