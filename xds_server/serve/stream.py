"""The only loop around the protocol core: one stream from its first request to its end."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from legation.runtime.tasks import Latest, pause, spawn
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.references import FOLLOWERS, followed_by
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.types import Acknowledged, Effect, Limits
from xds_server.serve.codec import Codec, DeltaCodec, SotwCodec
from xds_server.serve.info import StreamInfo
from xds_server.serve.session import Context, Rejected, Streams, Writer, first, read, run, stream_info
from xds_server.snapshot import Snapshot

__all__ = ["DELTA", "SOTW", "Admitted", "Rejected", "Source", "StreamInfo", "Variant", "serve_stream"]

BEATS_PER_TTL = 3
"""How often a resource is renewed in its TTL: one renewal may be late."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A stream that the consumer took: a key of the consumer's choice, and what the node should have.

    None is "not known yet": the client waits.
    """

    key: int
    snapshots: Latest[Snapshot] | Latest[Snapshot | None]


class Source(Protocol):
    """What the streams need from whoever knows what each node should have."""

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take a stream, or raise Rejected with the reason.

        An empty snapshot takes from a reconnecting client all that it holds: give none before it is known.
        """
        ...

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """See what happens on a stream; must not block. A Send is seen as it is about to be written."""
        ...

    def closed(self, stream: Admitted) -> None:
        """See the end of a stream that was admitted: exactly once for each."""
        ...


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the protocol: how it is written, and its core. What the one decodes the other receives."""

    codec: Codec[Any]
    core: Callable[[Limits], DeltaStream | SotwStream]


DELTA = Variant(DeltaCodec(), DeltaStream)
SOTW = Variant(SotwCodec(), SotwStream)


async def serve_stream(
    context: Context,
    source: Source,
    streams: Streams,
    limits: Limits,
    variant: Variant,
    *,
    service: str,
    implied_type: str = "",
) -> None:
    """Serve one stream: `implied_type` for the service of one type, "" for ADS."""
    request, node = variant.codec.decode(await first(context), implied_type)
    with streams.one():
        info = stream_info(context, service, node)
        stream = await source.admit(info)
        try:
            core = variant.core(limits)
            session = StreamSession(context, source, stream, core, variant.codec, info, implied_type)
            session.receive(request)
            session.on_acknowledged = streams.followers.moved
            with streams.followers.one(session):
                await run(streams, info, session.writer, read=session.read(), push=session.push())
        finally:
            source.closed(stream)


class StreamSession:
    """Feeds the core from two tasks, the client's requests and the snapshots, and writes what it decides.

    Memory is bounded: the core keeps only sets within its limits, whatever number of changes or
    requests a slow reader leaves behind, and encoded responses exist one at a time.
    """

    def __init__(
        self,
        context: Context,
        source: Source,
        stream: Admitted,
        core: DeltaStream | SotwStream,
        codec: Codec[Any],
        info: StreamInfo,
        implied_type: str,
    ) -> None:
        """Prepare for a stream that was admitted."""
        self._context = context
        self.writer = Writer(context)
        self._source = source
        self._stream = stream
        self._implied_type = implied_type
        self._core = core
        self._codec = codec
        self._writing = False
        self._observed: Acknowledged | None = None
        self.info = info
        self.on_acknowledged: Callable[[], None] = lambda: None

    def receive(self, request: Any) -> None:
        """Feed a request to the core."""
        for effect in self._core.receive(request):
            self._source.observe(self._stream, effect)

    async def read(self) -> None:
        """Feed each request; while its answer waits for a slow client, the next one is not read."""
        while True:
            request, _ = self._codec.decode(await read(self._context), self._implied_type)
            self.receive(request)
            await self._write()

    async def push(self) -> None:
        """Feed each newer snapshot."""
        renews = self._codec.renews(self.info.features)
        async with asyncio.TaskGroup() as group:
            beating: asyncio.Task[None] | None = None
            async for snapshot in self._stream.snapshots.watch():
                if snapshot is None:
                    continue
                self._core.update(snapshot)
                await self._write()
                if renews and self._core.ttl is not None and (beating is None or beating.done()):
                    beating = spawn(group, "beat", self._beat())

    async def _beat(self) -> None:
        """Renew in time what the client would forget, for as long as there is such."""
        while (ttl := self._core.ttl) is not None:
            await pause(ttl / BEATS_PER_TTL)
            self._core.beat()
            await self._write()

    async def _write(self) -> None:
        """Write all that is due; what the other tasks add meanwhile is taken along by whoever writes already."""
        if self._writing:
            return
        self._writing = True
        try:
            while sends := self._core.flush():
                for send in sends:
                    self._source.observe(self._stream, send)
                    await self.writer.write(self._codec.encode(send, self.info.features))
        finally:
            self._writing = False
        self._tell_acknowledged()

    def _tell_acknowledged(self) -> None:
        """Observe, once, that a snapshot is answered in full; anew when what is refused of it changes."""
        snapshot = self._core.snapshot
        if snapshot is None or not self._core.acknowledged:
            return
        nacks = dict(self._core.nacks)
        if self._observed is None or self._observed.snapshot is not snapshot or self._observed.nacks != nacks:
            self._observed = Acknowledged(snapshot, nacks)
            self._source.observe(self._stream, self._observed)
            self.on_acknowledged()

    @property
    def answered(self) -> bool:
        """Whether the client has answered all of the newest snapshot."""
        newest = self._stream.snapshots.value
        return newest is not None and self._core.snapshot is newest and self._core.acknowledged

    @property
    def nacks(self) -> Mapping[str, str]:
        """The newest error of each type of which the client NACKs something."""
        return self._core.nacks

    def promised(self, type_url: str) -> frozenset[str]:
        """Return what the client should ask for by what it has of a type; nothing where it NACKs some of that."""
        snapshot = self._core.snapshot
        if snapshot is None or type_url in self._core.nacks:
            return frozenset()
        there, asked = snapshot.of_type(type_url), self._core.subscribed(type_url)
        needed = followed_by(there[name] for name in asked if name in there)
        return frozenset(needed & snapshot.of_type(FOLLOWERS[type_url]).keys())

    def asked(self, type_url: str) -> frozenset[str]:
        """Return the names of a type that the client asks for."""
        return self._core.subscribed(type_url)

    @property
    def reason(self) -> str:
        """Why the client does not have the newest snapshot; empty when it has."""
        if self._stream.snapshots.value is None:
            return "nothing is set for it"
        if self.nacks:
            return "; ".join(f"NACKs {url.rpartition('.')[2]}: {error}" for url, error in self.nacks.items())
        waiting = ", ".join(url.rpartition(".")[2] for url in self._core.unanswered)
        return "" if self.answered else f"has not answered {waiting or 'yet'}"
