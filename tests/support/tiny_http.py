"""A small HTTP/1.1 server on a unix socket for fake processes: the standard library alone, so that they start fast."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[str, str, bytes], tuple[int, bytes]]
"""From method, target and body to status and body."""


async def serve(path: Path, answer: Answer) -> asyncio.Server:
    """Serve on a unix socket, one request a connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            writer.close()
            return
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        length = next(
            (int(v) for k, _, v in (r.partition(": ") for r in head.split("\r\n")) if k == "content-length"), 0
        )
        status, content = answer(method, target, await reader.readexactly(length))
        writer.write(
            b"HTTP/1.1 %d -\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(content)) + content
        )
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(handle, str(path))


def post(path: Path, target: str, body: bytes) -> int:
    """POST to a unix socket; return the status, 0 when nobody answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
            head = f"POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            sock.sendall(head.encode() + body)
            return int(sock.recv(4096).split(b" ")[1])
        except (OSError, IndexError):
            return 0
