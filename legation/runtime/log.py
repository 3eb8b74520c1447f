"""Structured logs: the event is a constant phrase, everything else is a field. Never a key or a token."""

import logging
import sys
from pathlib import Path

import structlog

LIMIT = 16 << 20
"""Bytes of a log file of ours; as much again is kept of what came before."""


def set_up(service: str, *, level: int = logging.INFO, to: Path | None = None) -> None:
    """Send all logs to stderr, coloured on a terminal and JSON lines otherwise, or to a file.

    grpc reports an exception in a handler only to the logger `grpc._cython.cygrpc`, so the
    standard library's loggers come here too.
    """
    tty = to is None and sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if tty else structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr) if to is None else _bounded(to)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.error", "uvicorn.access", "watchfiles", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def _bounded(file: Path) -> logging.Handler:
    from logging.handlers import RotatingFileHandler  # noqa: PLC0415 - it brings pickle and sockets along

    return RotatingFileHandler(file, maxBytes=LIMIT, backupCount=1)
