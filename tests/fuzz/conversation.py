"""Any bytes as one stream's conversation: requests decoded, answered by the core, encoded. For fuzzer and corpus.

What a client may cause is a response or one of the three errors that end its stream alone; nothing
else, and never more state than the limits allow.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.types import LimitExceeded, Limits, Send, UnknownType
from xds_server.serve.codec import RESOURCE_IN_SOTW, DeltaCodec, Malformed, SotwCodec, metadata
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
NAMES = ("a", "b", "d", "*", "", "x" * 40)
LIMITS = Limits(names=12, name_characters=400, types=4, unanswered=3, response_bytes=600, whole_bytes=4000)
FLUSHES = 50


class Bytes:
    """Reads small numbers off the front of some bytes; what is not there is 0."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def __bool__(self) -> bool:
        return bool(self._left)

    def number(self, below: int) -> int:
        if not self._left:
            return 0
        number, self._left = self._left[0], self._left[1:]
        return number % below

    def take(self, length: int) -> bytes:
        taken, self._left = self._left[:length], self._left[length:]
        return bytes(taken)


def converse(data: bytes) -> None:
    """Hold the conversation that the bytes stand for; AssertionError when something does not hold."""
    source = Bytes(data)
    delta, implied = source.number(2) == 0, (*TYPES, "")[source.number(6)]
    codec, stream = (DeltaCodec(), DeltaStream(LIMITS)) if delta else (SotwCodec(), SotwStream(LIMITS))
    stream.update(_snapshot(source))
    sent: list[Send] = []
    try:
        while source:
            match source.number(5):
                case 0:
                    stream.update(_snapshot(source))
                case 1:
                    stream.beat()
                case 2:
                    _receive(stream, codec, source.take(source.number(256)), implied)
                case _:
                    _receive(stream, codec, _request(source, sent, delta=delta), implied)
            sent += _flushed(stream, codec, delta=delta)
            _check(stream)
    except (Malformed, LimitExceeded, UnknownType) as error:
        assert len(str(error)) < 2000  # noqa: PT017 - what a client causes is no fault; only its length is ours


def _receive(stream, codec, data: bytes, implied: str) -> None:
    request, node = codec.decode(data, implied)
    metadata(node)
    stream.receive(request)


def _flushed(stream, codec, *, delta: bool) -> Iterator[Send]:
    """All that there is to send; it ends, and can be read again."""
    for _ in range(FLUSHES):
        sends = stream.flush()
        for send in sends:
            encoded = codec.encode(send, {RESOURCE_IN_SOTW})
            response = (DeltaDiscoveryResponse if delta else DiscoveryResponse).FromString(encoded)
            assert (response.type_url, response.nonce) == (send.type_url, send.nonce)
            assert len(response.resources) == len(send.resources)
        yield from sends
        if not sends:
            return
    raise AssertionError("there is always more to send")


def _check(stream) -> None:
    """Hold the stream's state to its limits."""
    watches = stream._watches.values()
    assert len(watches) <= LIMITS.types
    assert sum(len(watch.subscription.names) for watch in watches) <= LIMITS.names
    for watch in watches:
        assert len(watch.acks.pending) <= LIMITS.unanswered + FLUSHES
        known = LIMITS.names + len(NAMES) + len(watch._resources) + len(watch._said)
        for names in (watch.due, watch._must, watch._apart, watch._told):
            assert len(names) <= known
        assert len(watch.acks.nacks) <= known + 1


def _snapshot(source: Bytes) -> Snapshot:
    resources = {}
    for _ in range(source.number(6)):
        url, name = TYPES[source.number(5)], NAMES[source.number(6)] or "e"
        kind = source.number(6)
        ttl = timedelta(seconds=1) if kind == 5 else None
        resources[url, name] = Resource.of(url, name, bytes([kind]) * (300 if kind == 4 else kind), ttl=ttl)
    return Snapshot.of(resources.values())


def _request(source: Bytes, sent: list[Send], *, delta: bool) -> bytes:
    """A request that is nearly right: known types and names, nonces that were sent."""
    send = sent[-1 - source.number(len(sent))] if sent and source.number(3) else None
    fields: dict[str, Any] = {
        "type_url": send.type_url if send else TYPES[source.number(5)],
        "response_nonce": send.nonce if send else "",
    }
    if source.number(4) == 0:
        fields["error_detail"] = {"message": "no"}
    names = [NAMES[source.number(6)] for _ in range(source.number(4))]
    if not delta:
        return DiscoveryRequest(
            resource_names=names, version_info=send.version if send else "", **fields
        ).SerializeToString()
    dropped = [NAMES[source.number(6)] for _ in range(source.number(3))]
    held = {NAMES[source.number(6)]: "v" for _ in range(source.number(3))}
    return DeltaDiscoveryRequest(
        resource_names_subscribe=names,
        resource_names_unsubscribe=dropped,
        initial_resource_versions=held,
        **fields,
    ).SerializeToString()
