"""The asking end of the control API."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import msgspec

from legation.runtime import http
from legation.runtime.control.messages import Message

M = TypeVar("M", bound=Message)

SILENCE = 15.0
"""Seconds without even a heartbeat after which a watched server counts as hung."""


class ControlError(Exception):
    """A control API that answered with an error, or (status 0) not at all."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the HTTP status (0: unreachable) and what was said."""
        self.status, self.text = status, text
        super().__init__(f"{status}: {text}" if status else text)


class ControlClient:
    """Asks one service's control API; each call has its own limit, in seconds."""

    def __init__(self, address: Path | http.Secure, limit: float = 10.0) -> None:
        """Talk to the service behind a unix socket, or over mTLS to one on another host (`control.mtls`)."""
        self._address, self._limit = address, limit

    async def get(self, path: str, answer: type[M], limit: float | None = None) -> M:
        """Return what `GET path` says; ControlError when it does not."""
        return _decode(await self._ask("GET", path, b"", limit), answer)

    async def send(
        self, method: str, path: str, body: Message | None, answer: type[M], limit: float | None = None
    ) -> M:
        """Send a message and return the answer (422 carries one too); ControlError when it is rejected."""
        content = msgspec.json.encode(body) if body is not None else b""
        return _decode(await self._ask(method, path, content, limit), answer)

    async def tell(self, method: str, path: str, body: Message) -> None:
        """Send a message that is answered by its status alone; ControlError when it is rejected."""
        await self._ask(method, path, msgspec.json.encode(body), None)

    async def post(self, path: str, limit: float | None = None) -> None:
        """Ask for something that is answered by its status alone."""
        await self._ask("POST", path, b"", limit)

    async def watch(self, path: str, event: type[M]) -> AsyncIterator[M]:
        """Yield the events of a watch until it ends; ControlError when it cannot be opened, breaks or falls silent."""
        try:
            async with aclosing(http.lines(self._address, path, limit=SILENCE)) as lines:
                async for line in lines:
                    if line.startswith("data: "):
                        yield _decode(line.removeprefix("data: ").encode(), event)
        except http.HttpError as error:
            raise ControlError(0, str(error)) from error

    async def _ask(self, method: str, path: str, body: bytes, limit: float | None) -> bytes:
        try:
            answer = await http.request(self._address, method, path, body=body, limit=limit or self._limit)
        except http.HttpError as error:
            raise ControlError(0, str(error)) from error
        if answer.status >= 400 and answer.status != 422:
            raise ControlError(answer.status, answer.text)
        return answer.body


def _decode(data: bytes, kind: type[M]) -> M:
    """Return a message; ControlError when it is none of this schema: the peer is of another version."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ControlError(0, f"an answer is no {kind.__name__}: {error}") from error
