"""Bytes on the wire to protocol values, and back."""

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from xds_server.protocol.types import SHOWN, DeltaRequest, Send

NODE_BYTES = 64 << 10
"""Size of a node's id, metadata and the rest: what is kept of each client."""


class Malformed(Exception):
    """A client sent what no client may send."""


def decode(data: bytes, implied_type: str = "") -> tuple[DeltaRequest, base_pb2.Node]:
    """Return a delta request and its node (empty in all but the first of a stream).

    `implied_type` is the type of a single-type stream; "" is ADS, where the request must name it.
    Malformed on garbage, a missing or wrong type URL, or resource locators.
    """
    try:
        message = DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise Malformed("the request is not a DeltaDiscoveryRequest") from error
    type_url = message.type_url or implied_type
    if not type_url:
        raise Malformed("type_url is empty: an aggregated stream needs it in every request")
    if implied_type and type_url != implied_type:
        raise Malformed(f"type_url {type_url[:SHOWN]} is not served on this stream, only {implied_type}")
    if message.resource_locators_subscribe or message.resource_locators_unsubscribe:
        raise Malformed("resource locators are not served: use resource_names_subscribe")
    if message.node.ByteSize() > NODE_BYTES:
        raise Malformed(f"the node has {message.node.ByteSize()} bytes; at most {NODE_BYTES} are taken")
    request = DeltaRequest(
        type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )
    return request, message.node


def encode(send: Send) -> bytes:
    """Return a DeltaDiscoveryResponse: a few bytes of its own, and the resources' shared ones.

    A repeated field may be split over concatenated messages (Protocol Buffers, "Last One Wins").
    """
    head = DeltaDiscoveryResponse(type_url=send.type_url, nonce=send.nonce, removed_resources=send.removed)
    return b"".join((head.SerializeToString(), *(resource.wire for resource in send.resources)))


def metadata(node: base_pb2.Node) -> Mapping[str, Any]:
    """Return a node's metadata as plain values; a Struct knows doubles alone, so whole numbers become int again."""
    return {name: _plain(value) for name, value in MessageToDict(node.metadata).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
