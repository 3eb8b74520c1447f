"""Protos to bytes, always the same bytes for the same content: reordered bytes drain live connections."""

from datetime import timedelta

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from legation.mesh.errors import Position
from xds_server.snapshot import Resource


def pack(message: Message) -> Any:
    """Return the message as an Any, serialised deterministically."""
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def serialize(message: Message) -> bytes:
    """Return the message's deterministic bytes."""
    return message.SerializeToString(deterministic=True)


def resource(type_url: str, name: str, message: Message, source: Position | None) -> Resource:
    """Return an xDS resource that comes from a place in mesh.yaml."""
    return Resource.of(type_url, name, serialize(message), source)


def duration(time: timedelta) -> Duration:
    """Return a proto duration; `timedelta(0)` is written too, as it means "no limit" to Envoy."""
    proto = Duration()
    proto.FromTimedelta(time)
    return proto
