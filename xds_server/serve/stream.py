"""The only loop around the protocol core: one stream from its first request to its end."""

from dataclasses import dataclass
from typing import Protocol

from legation.runtime.tasks import Latest
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.types import Acknowledged, DeltaRequest, Effect, Limits
from xds_server.serve.codec import decode, encode
from xds_server.serve.session import Context, Rejected, StreamInfo, Streams, first, read, run, stream_info
from xds_server.snapshot import Snapshot

__all__ = ["Admitted", "Rejected", "Source", "StreamInfo", "serve_delta"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A stream that the consumer took: a key of the consumer's choice, and what the node should have."""

    key: int
    snapshots: Latest[Snapshot]


class Source(Protocol):
    """What the streams need from whoever knows what each node should have."""

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take a stream, or raise Rejected with the reason.

        Return only when `snapshots` holds what the node should have: an empty one takes from a
        reconnecting client all that it holds.
        """
        ...

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """See what happens on a stream; must not block. A Send is seen as it is about to be written."""
        ...

    def closed(self, stream: Admitted) -> None:
        """See the end of a stream that was admitted: exactly once for each."""
        ...


async def serve_delta(
    context: Context, source: Source, streams: Streams, limits: Limits, *, service: str, implied_type: str = ""
) -> None:
    """Serve one delta stream: `implied_type` for the service of one type, "" for ADS."""
    request, node = decode(await first(context), implied_type)
    with streams.one():
        stream = await source.admit(stream_info(context, service, node))
        try:
            session = StreamSession(context, source, stream, DeltaStream(limits, streams.differences), implied_type)
            session.receive(request)
            await run(streams, read=session.read(), push=session.push())
        finally:
            source.closed(stream)


class StreamSession:
    """Feeds the core from two tasks, the client's requests and the snapshots, and writes what it decides.

    Memory is bounded: the core keeps only sets within its limits, whatever number of changes or
    requests a slow reader leaves behind, and encoded responses exist one at a time.
    """

    def __init__(
        self, context: Context, source: Source, stream: Admitted, core: DeltaStream, implied_type: str
    ) -> None:
        """Prepare for a stream that was admitted."""
        self._context = context
        self._source = source
        self._stream = stream
        self._implied_type = implied_type
        self._core = core
        self._writing = False
        self._observed: Acknowledged | None = None

    def receive(self, request: DeltaRequest) -> None:
        """Feed a request to the core."""
        for effect in self._core.receive(request):
            self._source.observe(self._stream, effect)

    async def read(self) -> None:
        """Feed each request; while its answer waits for a slow client, the next one is not read."""
        while True:
            request, _ = decode(await read(self._context), self._implied_type)
            self.receive(request)
            await self._write()

    async def push(self) -> None:
        """Feed each newer snapshot."""
        async for snapshot in self._stream.snapshots.watch():
            self._core.update(snapshot)
            await self._write()

    async def _write(self) -> None:
        """Write all that is due; what the other task adds meanwhile is taken along by whoever writes already."""
        if self._writing:
            return
        self._writing = True
        try:
            while sends := self._core.flush():
                for send in sends:
                    self._source.observe(self._stream, send)
                    await self._context.write(encode(send))
        finally:
            self._writing = False
        self._tell_acknowledged()

    def _tell_acknowledged(self) -> None:
        """Observe, once, that a snapshot is answered in full; anew when what is refused of it changes."""
        snapshot, nacks = self._core.snapshot, dict(self._core.nacks)
        if not self._core.acknowledged or snapshot is None:
            return
        if self._observed is None or self._observed.snapshot is not snapshot or self._observed.nacks != nacks:
            self._observed = Acknowledged(snapshot, nacks)
            self._source.observe(self._stream, self._observed)
