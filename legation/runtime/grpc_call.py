"""One gRPC call in both directions over a unix socket, by h2 and asyncio: without what the library weighs.

The protocol is https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, over HTTP/2 in plain text with prior
knowledge. Enough for a client of certmgr's SDS, whose messages are small.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_CHUNK = 65536
_LARGEST = 4 << 20
"""Bytes of one message, as gRPC's own limit is."""


class CallEnded(Exception):
    """A call that is over, or never began; the text is why."""


class Call:
    """A call that is open: messages go out with `write`, and come as it is iterated, until CallEnded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Prepare to speak over a connection."""
        self._reader, self._writer = reader, writer
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._stream, self._received, self._ended = 1, bytearray(), ""

    def begin(self, method: str) -> None:
        """Say which method is called."""
        self._http.initiate_connection()
        head = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost", "te": "trailers"}
        self._http.send_headers(self._stream, [*head.items(), ("content-type", "application/grpc")])
        self._flush()

    def write(self, message: bytes) -> None:
        """Send a message, which must be within what the server takes at once."""
        self._http.send_data(self._stream, struct.pack(">BI", 0, len(message)) + message)
        self._flush()

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield the messages of the server."""
        while True:
            for message in self._whole():
                yield message
            if self._ended:
                raise CallEnded(self._ended)
            data = await self._reader.read(_CHUNK)
            if not data:
                raise CallEnded("the server closes the connection")
            for event in self._http.receive_data(data):
                self._take(event)
            self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._received += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, self._stream)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                said = dict(event.headers or ())
                if said.get(b":status", b"200") != b"200" or said.get(b"grpc-status", b"0") != b"0":
                    self._ended = unquote(said.get(b"grpc-message", b"").decode()) or f"the server answers {said}"
            case h2.events.StreamEnded():
                self._ended = self._ended or "the server ends the stream"
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                self._ended = self._ended or f"the server breaks the stream off: {event.error_code!r}"

    def _whole(self) -> list[bytes]:
        """Take what has come whole: a flag of compression, four bytes of length, and as many of a message."""
        found = []
        while len(self._received) >= 5:
            compressed, size = struct.unpack_from(">BI", self._received)
            if compressed or size > _LARGEST:
                raise CallEnded("the server sends a message that is compressed, or larger than 4 MiB")
            if len(self._received) < 5 + size:
                break
            found.append(bytes(self._received[5 : 5 + size]))
            del self._received[: 5 + size]
        return found

    def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())


@asynccontextmanager
async def calling(socket: Path, method: str) -> AsyncIterator[Call]:
    """Give a call of a method of the server behind a unix socket; CallEnded when that does not work."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            call = Call(reader, writer)
            call.begin(method)
            yield call
        finally:
            writer.close()
    except (OSError, h2.exceptions.ProtocolError) as error:
        raise CallEnded(str(error) or type(error).__name__) from error
