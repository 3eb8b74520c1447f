"""A proxy that does as it is told, and remembers what it holds: a small language for xDS conversations.

proxy = kit.proxy()
await proxy.ask(ENDPOINT, "a", "b")             # from now on it wants these, and no others
await proxy.settle(ENDPOINT, a=1, b=1)          # reads and ACKs until it holds exactly this
response = await proxy.next(ENDPOINT)           # one response, not answered yet
await proxy.nack(response, "bad port")
await proxy.quiet()                             # nothing comes, for a short while
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
    Resource,
)
from google.protobuf import any_pb2

from tests.conformance.content import read
from tests.conformance.variants import WHOLE, Variant

LIMIT = 5.0
"""Seconds in which what is due has to come."""
QUIET = 0.2
"""Seconds of silence that count as none coming."""
_RESOURCE = "type.googleapis.com/envoy.service.discovery.v3.Resource"


class Ended(AssertionError):
    """A stream ended while more was expected of it."""

    def __init__(self, said: str) -> None:
        super().__init__(f"the stream ended: {said}")
        self.status = said.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Item:
    """One resource of a response; `value` is None for a heartbeat, which has no content. `ttl` in seconds, 0: none."""

    name: str
    version: str
    value: int | None
    ttl: float


@dataclass(frozen=True, slots=True)
class Response:
    """A response of either kind; in state of the world `removed` is empty."""

    type_url: str
    version: str
    nonce: str
    items: tuple[Item, ...]
    removed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    size: int = 0

    @property
    def values(self) -> dict[str, int | None]:
        return {item.name: item.value for item in self.items}

    @property
    def names(self) -> list[str]:
        """All names that it speaks of, sorted, with what comes twice."""
        return sorted([*(item.name for item in self.items), *self.removed])

    def __str__(self) -> str:
        kind = self.type_url.rpartition(".")[2]
        return f"{kind} {dict(sorted(self.values.items()))}" + (
            f" without {', '.join(self.removed)}" if self.removed else ""
        )


@dataclass(slots=True)
class State:
    """What the proxy wants and has of one type."""

    names: tuple[str, ...] = ()
    version: str = ""
    """Of the response that was ACKed last."""
    nonce: str = ""
    """Of the response that was answered last."""
    wildcard: bool = False
    held: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    inbox: deque[Response] = field(default_factory=deque)


class Stream:
    """One gRPC call; reads only when it is asked to, and a read that waits is never cancelled."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        self.call: grpc.aio.StreamStreamCall = channel.stream_stream(method)()
        self.reading: asyncio.Future | None = None

    async def write(self, data: bytes) -> None:
        try:
            await self.call.write(data)
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            raise Ended(await self.end()) from None

    async def read(self, limit: float) -> bytes | None:
        """The next message, or None when none comes within so many seconds; Ended when none can."""
        if self.reading is None:
            self.reading = asyncio.ensure_future(self.call.read())
        done, _ = await asyncio.wait({self.reading}, timeout=max(limit, 0))
        if not done:
            return None
        reading, self.reading = self.reading, None
        if reading.exception() is None and isinstance(data := reading.result(), bytes):
            return data
        raise Ended(await self.end())

    async def end(self, limit: float = LIMIT) -> str:
        """How it ends: the status's name and text."""
        try:
            async with asyncio.timeout(limit):
                while not self.call.done():
                    if self.reading is None or self.reading.done():
                        self.reading = asyncio.ensure_future(self.call.read())
                    await asyncio.wait({self.reading})
                return f"{(await self.call.code()).name}: {await self.call.details()}"
        except TimeoutError:
            raise AssertionError(f"the stream has not ended within {limit:.0f} s") from None
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"


class Proxy:
    """One node's streams in one variant: one for all types, or one for each."""

    def __init__(self, variant: Variant, channel: grpc.aio.Channel, node: str, features: Iterable[str] = ()) -> None:
        self.variant, self.node = variant, node
        self._channel, self._features = channel, tuple(features)
        self._streams: dict[str, Stream] = {}
        self._types: dict[str, State] = {}
        self.log: list[Response] = []
        """All responses, in the order in which they came."""

    def of(self, type_url: str) -> State:
        """What it wants and has of a type."""
        return self._types.setdefault(type_url, State())

    def stream(self, type_url: str) -> Stream:
        """The gRPC call of a type, opened when it is first asked for."""
        method = self.variant.method(type_url)
        if method not in self._streams:
            self._streams[method] = Stream(self._channel, method)
        return self._streams[method]

    async def ask(self, type_url: str, *names: str, node: str | None = None) -> None:
        """Want these names of a type, and no others; the first time none at all is the legacy wildcard."""
        first, state = type_url not in self._types, self.of(type_url)
        before, state.names = state.names, names
        state.wildcard = "*" in names or (
            not names and type_url in WHOLE if first else self._stays(state, before, names)
        )
        if not state.wildcard:
            state.held = {n: v for n, v in state.held.items() if n in names}
            state.versions = {n: v for n, v in state.versions.items() if n in names}
        fields: dict[str, Any]
        if self.variant.delta:
            subscribe, unsubscribe = [n for n in names if n not in before], [n for n in before if n not in names]
            fields = {"resource_names_subscribe": subscribe, "resource_names_unsubscribe": unsubscribe}
        else:
            fields = {"resource_names": names, "version_info": state.version, "response_nonce": state.nonce}
        await self.request(type_url, node=node, **fields)

    def _stays(self, state: State, before: tuple[str, ...], names: tuple[str, ...]) -> bool:
        """Whether a wildcard outlives a change of names that does not name it."""
        if self.variant.delta:
            return state.wildcard and "*" not in before
        return state.wildcard and not before and not names

    async def request(self, of_type: str, /, *, node: str | Node | None = None, **fields) -> None:
        """Send a request as it is given; the node goes with the first of a stream, or where it is given."""
        first = self.variant.method(of_type) not in self._streams
        kind = DeltaDiscoveryRequest if self.variant.delta else DiscoveryRequest
        message = kind(**{"type_url": of_type, **fields})
        if node is None and first:
            node = self.node
        if node is not None:
            message.node.CopyFrom(node if isinstance(node, Node) else Node(id=node, client_features=self._features))
        await self.stream(of_type).write(message.SerializeToString())

    async def next(self, type_url: str, limit: float = LIMIT) -> Response:
        """The next response of a type, which is not answered yet."""
        state, loop = self.of(type_url), asyncio.get_running_loop()
        deadline = loop.time() + limit
        while not state.inbox:
            if not await self._read(self.stream(type_url), deadline - loop.time()):
                raise AssertionError(
                    f"no {type_url.rpartition('.')[2]} came within {limit:.0f} s, after: {self._told()}"
                )
        return state.inbox.popleft()

    async def any(self, limit: float = LIMIT) -> Response:
        """The next response of an aggregated stream, whatever its type."""
        (stream,) = self._streams.values()
        assert await self._read(stream, limit), f"nothing came within {limit:.0f} s, after: {self._told()}"
        return self.of(self.log[-1].type_url).inbox.pop()

    async def ack(self, response: Response, **fields) -> None:
        """Apply a response, and say so."""
        state = self._applied(response)
        state.version = response.version
        await self._answer(response, fields)

    async def nack(self, response: Response, error: str, **fields) -> None:
        """Refuse a response: what was held stays, and the version with it."""
        await self._answer(response, {"error_detail": {"code": 3, "message": error}, **fields})

    async def settle(self, type_url: str, limit: float = LIMIT, /, **held: int) -> None:
        """Read and ACK until exactly this is held."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while self.of(type_url).held != held or not self.of(type_url).nonce:
            left = deadline - loop.time()
            assert left > 0, f"wanted {held}, holds {self.of(type_url).held} after: {self._told()}"
            try:
                await self.ack(await self.next(type_url, left))
            except Ended:
                raise
            except AssertionError:
                raise AssertionError(f"wanted {held}, holds {self.of(type_url).held} after: {self._told()}") from None

    async def quiet(self, *, empty: bool = False, seconds: float = QUIET) -> None:
        """Nothing comes for a short while; `empty` lets a response pass that holds nothing (and ACKs it)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0:
            streams = list(self._streams.values())
            await asyncio.gather(*(self._read(stream, left) for stream in streams))
            for state in self._types.values():
                while state.inbox:
                    response = state.inbox.popleft()
                    assert not response.names, f"nothing was due, but there came {response}"
                    assert empty, "nothing was due, but there came an empty response"
                    await self.ack(response)

    async def drain(self, seconds: float = QUIET) -> list[Response]:
        """Whatever comes until it has been quiet for a short while, without answers."""
        before = len(self.log)
        while any(await asyncio.gather(*(self._read(stream, seconds) for stream in self._streams.values()))):
            pass
        for state in self._types.values():
            state.inbox.clear()
        return self.log[before:]

    async def end(self, type_url: str) -> str:
        """How a type's stream ends: the status's name and text."""
        return await self.stream(type_url).end()

    def leave(self) -> None:
        """Cancel all streams."""
        for stream in self._streams.values():
            stream.call.cancel()

    async def gone(self) -> None:
        """Cancel all streams, and let no read wait any more."""
        self.leave()
        reads = [stream.reading for stream in self._streams.values() if stream.reading is not None]
        await asyncio.gather(*reads, return_exceptions=True)

    def hold(self, other: "Proxy", type_url: str) -> None:
        """Start with what another proxy held: a reconnect."""
        old, mine = other.of(type_url), self.of(type_url)
        mine.held, mine.versions, mine.version = dict(old.held), dict(old.versions), old.version

    async def return_with(self, type_url: str, *names: str) -> None:
        """Ask for the first time on this stream, saying what is held from before, as Envoy does."""
        state = self.of(type_url)
        state.names, state.wildcard = names, "*" in names or (not names and type_url in WHOLE)
        if self.variant.delta:
            versions = {"initial_resource_versions": state.versions}
            await self.request(type_url, resource_names_subscribe=names, **versions)
        else:
            await self.request(type_url, resource_names=names, version_info=state.version)

    async def _read(self, stream: Stream, limit: float) -> bool:
        """Take one message in, where one comes in time."""
        data = await stream.read(limit)
        if data is None:
            return False
        response = _delta(data) if self.variant.delta else _sotw(data)
        self.log.append(response)
        self.of(response.type_url).inbox.append(response)
        return True

    def _applied(self, response: Response) -> State:
        state = self.of(response.type_url)
        wanted = [item for item in response.items if state.wildcard or item.name in state.names]
        new = {item.name: item.value for item in wanted if item.value is not None}
        if self.variant.delta:
            state.held = {n: v for n, v in state.held.items() if n not in response.removed} | new
            state.versions = {n: v for n, v in state.versions.items() if n not in response.removed}
        elif response.type_url in WHOLE:
            state.held = {i.name: state.held[i.name] for i in response.items if i.name in state.held} | new
        else:
            state.held |= new
        state.versions |= {item.name: item.version for item in wanted}
        return state

    async def _answer(self, response: Response, fields: dict) -> None:
        state = self.of(response.type_url)
        state.nonce = response.nonce
        fields["response_nonce"] = response.nonce
        if not self.variant.delta:
            fields = {"version_info": state.version, "resource_names": state.names, **fields}
        await self.request(response.type_url, **fields)

    def _told(self) -> str:
        return "; ".join(map(str, self.log[-8:])) or "nothing"


def _delta(data: bytes) -> Response:
    message = DeltaDiscoveryResponse.FromString(data)
    items = tuple(_item(resource, message.type_url) for resource in message.resources)
    errors = tuple(error.resource_name.name for error in getattr(message, "resource_errors", ()))
    return Response(
        message.type_url,
        message.system_version_info,
        message.nonce,
        items,
        tuple(message.removed_resources),
        errors,
        len(data),
    )


def _sotw(data: bytes) -> Response:
    message = DiscoveryResponse.FromString(data)
    items = tuple(_unwrapped(packed, message) for packed in message.resources)
    return Response(message.type_url, message.version_info, message.nonce, items, size=len(data))


def _unwrapped(packed: any_pb2.Any, message: DiscoveryResponse) -> Item:
    if packed.type_url == _RESOURCE:
        wrapped = Resource.FromString(packed.value)
        wrapped.version = wrapped.version or message.version_info
        return _item(wrapped, message.type_url)
    name, value = read(packed.type_url, packed.value)
    return Item(name, message.version_info, value, 0)


def _item(resource: Resource, type_url: str) -> Item:
    ttl = resource.ttl.ToTimedelta().total_seconds() if resource.HasField("ttl") else 0.0
    if not resource.HasField("resource") or not resource.resource.type_url:
        return Item(resource.name, resource.version, None, ttl)
    name, value = read(type_url, resource.resource.value)
    return Item(resource.name or name, resource.version, value, ttl)
