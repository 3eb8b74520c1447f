"""The host's agent: holds the identities of this host, has each renewed in time, and shows it on its own socket.

Whatever happens to Vault, what there is stays on show: a certificate is only ever replaced by a
newer one that was verified and is safely on disk.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from certmgr.core.bundle import Bundle, Damaged
from certmgr.core.plan import Wanted
from certmgr.core.schedule import Schedule
from certmgr.core.verify import misuse
from certmgr.issue.issuer import IssueError, NotEnrolled
from certmgr.issue.login import LoginRefused
from certmgr.issue.vault import Denied, Missing, VaultError
from certmgr.metrics import Metrics
from certmgr.sds import Secrets
from certmgr.store import Store
from legation.mesh.control import Identity
from legation.runtime.clock import Clock
from legation.runtime.tasks import Latest, spawn
from xds_server.serve.server import serve

log = structlog.get_logger(__name__)

_LONGEST_SLEEP = 5.0
"""Seconds after which the wall clock is looked at again, in case it was stepped or the host was suspended."""

_AT_ONCE = 4
"""Certificates that are asked for at the same time."""

_SDS_GRACE = 0.5


class Issuing(Protocol):
    """Where certificates come from. Blocks."""

    def issue(self, wanted: Wanted) -> Bundle:
        """Return a new, verified identity; IssueError or VaultError when there is none."""
        ...

    def forget(self, name: str) -> None:
        """Drop what is cached for an identity."""
        ...


@dataclass(slots=True)
class Held:
    """One identity as the agent holds it; `attempts` is the number of the last attempt that has ended."""

    wanted: Wanted
    secrets: Secrets
    bundle: Bundle | None = None
    started: int = 0
    attempts: Latest[int] = field(default_factory=lambda: Latest(0))
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Agent:
    """The identities of one host."""

    def __init__(
        self,
        issuer: Issuing,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        socket: Callable[[str], "object"],
        retry_limit: float,
        not_enrolled: Callable[[str, bool], None],
    ) -> None:
        """Prepare: `not_enrolled(name, refused)` is called when Vault does not know (or refuses) an identity."""
        self._issuer, self._store, self._clock, self._metrics = issuer, store, clock, metrics
        self._socket, self._not_enrolled = socket, not_enrolled
        self._schedule = Schedule(retry_limit)
        self._held: dict[str, Held] = {}
        self._kicked = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
