"""On to the team's own receiver of OTLP over HTTP, Loki among them, or to telemetry of another host.

A bounded queue, and one batch at a time.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from legation.mesh.model.logging import Receiver
from legation.runtime import http
from legation.runtime.tasks import jittered, pause
from telemetry.logs.between import LOGS, Peer

log = structlog.get_logger()

MOST_WAITING = 16 << 20
"""Bytes that wait for a receiver that is away; the oldest go first."""
_LIMIT = 10.0
_BASE, _LONGEST = 0.2, 10.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which a batch is sent again (OTLP specification, failures; and Loki's own)."""
_BAD_REQUEST = 400


class Forwarder:
    """Sends batches to the receiver that mesh.yaml names now, if one."""

    def __init__(self, dropped: Callable[[str, int], None]) -> None:
        """Prepare; `dropped(reason, number of records)` hears of what does not arrive."""
        self._dropped = dropped
        self._receiver: Receiver | Peer | None = None
        self._tls: tuple[Receiver, float, ssl.SSLContext] | None = None
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._something = asyncio.Event()
        self.problem: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody wants the records."""
        return self._receiver is not None

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return self._size

    def use(self, receiver: Receiver | Peer | None) -> None:
        """Send to this receiver from now on; None: what waits is let go."""
        if receiver != self._receiver:
            self._receiver, self.problem = receiver, None
            if receiver is None:
                self._waiting.clear()
                self._size = 0

    def offer(self, batch: bytes, number: int) -> None:
        """Take a serialised ExportLogsServiceRequest of so many records; returns at once."""
        self._waiting.append((batch, number))
        self._size += len(batch)
        while self._size > MOST_WAITING:
            old, lost = self._waiting.popleft()
            self._size -= len(old)
            self._dropped("receiver_away", lost)
        self._something.set()

    async def run(self) -> None:
        """Send for ever."""
        attempt = 0
        while True:
            while not self._waiting:
                self._something.clear()
                await self._something.wait()
            batch, number = self._waiting[0]
            if await self._send(batch, number):
                attempt = 0
                if self._waiting and self._waiting[0][0] is batch:
                    self._waiting.popleft()
                    self._size -= len(batch)
            else:
                await pause(jittered(_BASE, _LONGEST, attempt))
                attempt += 1

    async def _send(self, batch: bytes, number: int) -> bool:
        """Send a batch; say whether it is done with: taken, or rejected for good."""
        receiver = self._receiver
        if receiver is None:
            return True
        headers = {"content-type": "application/x-protobuf"}
        if isinstance(receiver, Receiver) and receiver.tenant:
            headers["x-scope-orgid"] = receiver.tenant
        try:
            address, target = self._way(receiver)
            answer = await http.request(address, "POST", target, body=batch, headers=headers, limit=_LIMIT)
        except (http.HttpError, OSError) as error:
            self._say(f"{receiver.url} takes no logs: {error}")
            return False
        if answer.status in _AGAIN:
            self._say(f"{receiver.url} takes no logs: {answer.status} {answer.text[:200]}")
            return False
        if answer.status >= _BAD_REQUEST:
            self._say(f"{receiver.url} rejects logs: {answer.status} {answer.text[:200]}")
            self._dropped("rejected", number)
            return True
        self.problem = None
        return True

    def _way(self, receiver: Receiver | Peer) -> tuple[http.Address, str]:
        if isinstance(receiver, Peer):
            return receiver.address, LOGS
        return http.split(receiver.url, lambda: self._context(receiver))

    def _context(self, receiver: Receiver) -> ssl.SSLContext:
        """Return by which CAs it is verified: read once, and when their file changes, not with each batch."""
        changed = Path(receiver.ca).stat().st_mtime if receiver.ca else 0.0
        if self._tls is None or self._tls[:2] != (receiver, changed):
            self._tls = receiver, changed, ssl.create_default_context(cafile=receiver.ca)
        return self._tls[2]

    def _say(self, problem: str) -> None:
        """Log a problem when it is a new one."""
        if self.problem is None:
            log.warning("logs do not arrive", problem=problem)
        self.problem = problem
