"""ACKs and NACKs, told to callbacks: a source in front of another."""

from collections.abc import Callable

from xds_server.protocol.types import Acked, Effect, Nacked
from xds_server.serve.info import StreamInfo
from xds_server.serve.stream import Admitted, Source

OnAck = Callable[[StreamInfo, Acked], None]
OnNack = Callable[[StreamInfo, Nacked], None]


class Reporting:
    """Passes everything on to a source, and answers to callbacks too."""

    def __init__(self, source: Source, on_ack: OnAck | None, on_nack: OnNack | None) -> None:
        """Stand in front of a source."""
        self._source, self._on_ack, self._on_nack = source, on_ack, on_nack
        self._infos: dict[int, StreamInfo] = {}

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take a stream."""
        admitted = await self._source.admit(info)
        self._infos[admitted.key] = info
        return admitted

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """Report what is an answer."""
        self._source.observe(stream, effect)
        match effect:
            case Acked() if self._on_ack is not None:
                self._on_ack(self._infos[stream.key], effect)
            case Nacked() if self._on_nack is not None:
                self._on_nack(self._infos[stream.key], effect)
            case _:
                pass

    def closed(self, stream: Admitted) -> None:
        """Take the end of a stream."""
        del self._infos[stream.key]
        self._source.closed(stream)
