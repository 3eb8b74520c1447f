"""Where spans of our own work go: nowhere, and nothing is loaded for them, until mesh.yaml has `tracing`."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter

from legation.mesh.model.tracing import Otlp, Tracing
from legation.runtime.tasks import Latest
from legation.runtime.trail import Step

log = structlog.get_logger()

OUTCOMES = ("sent", "lost")
_EARLY = 16
"""Pieces of work that are kept while the SDK is loaded."""


class Exporter(Protocol):
    """Makes spans of steps, and sends them on a thread of its own."""

    def emit(self, root: Step) -> None:
        """Take a piece of work; returns at once."""
        ...

    def close(self) -> None:
        """Send what waits, for a while, and end. Blocks."""
        ...


def _otlp(service: str, mesh: str, receiver: Otlp, count: Callable[[str, int], None]) -> Exporter:
    from legation.runtime.spans import Spans  # noqa: PLC0415 - OpenTelemetry's SDK, for who traces

    return Spans(service, mesh, receiver, count)


class Traces:
    """The spans of one service of ours."""

    def __init__(
        self,
        service: str,
        registry: CollectorRegistry,
        exporter: Callable[[str, str, Otlp, Callable[[str, int], None]], Exporter] = _otlp,
    ) -> None:
        """Send nothing yet. `service` is ours, as `xds_server`; what is sent and lost is counted in `registry`."""
        self._service, self._make = service, exporter
        self._spans = Counter(
            "legation_spans", "Spans of our own work, by what became of them", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:
            self._spans.labels(outcome)
        self._asked: Latest[tuple[str, Otlp] | None] = Latest(None)
        self._exporter: Exporter | None = None
        self._early: deque[Step] = deque(maxlen=_EARLY)

    def want(self, mesh: str, tracing: Tracing | None) -> None:
        """Send to the receiver that a mesh names, from now on; None: to nobody."""
        asked = None if tracing is None else (mesh, tracing.otlp)
        if asked != self._asked.value:
            self._asked.set(asked)

    def emit(self, root: Step) -> None:
        """Send what a piece of work did, if anybody wants to know; returns at once."""
        if self._exporter is not None:
            self._exporter.emit(root)
        elif self._asked.value is not None:
            self._early.append(root)  # such as the change that says where spans go

    async def run(self) -> None:
        """Do as is wanted, for ever."""
        try:
            async for asked in self._asked.watch():
                await self._close()
                if asked is not None:
                    self._exporter = await asyncio.to_thread(self._open, *asked)
                while self._exporter is not None and self._early:
                    self._exporter.emit(self._early.popleft())
        finally:
            await self._close()

    async def _close(self) -> None:
        before, self._exporter = self._exporter, None
        if before is not None:
            await asyncio.to_thread(before.close)

    def _open(self, mesh: str, receiver: Otlp) -> Exporter | None:
        try:
            return self._make(f"legation-{self._service.replace('_', '-')}", mesh, receiver, self._count)
        except OSError as error:  # a file of CAs that cannot be read
            log.warning("our own work is not traced", reason=str(error))
            return None

    def _count(self, outcome: str, number: int) -> None:
        self._spans.labels(outcome).inc(number)
