"""Each new certificate as one trace: signed by Vault, kept on the disk, taken by the proxies that show it."""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec
from certmgr.issuance import Issuing
from certmgr.issue.issuer import NotEnrolled
from legation.runtime.clock import Clock
from legation.runtime.control.messages import ProxyReport
from legation.runtime.tasks import Moves
from legation.runtime.trail import Step, Trail

_LIMIT = 30.0
"""Seconds that a proxy has to take a certificate before the trace is sent without that."""


class Showing(Protocol):
    """Who shows certificates (`certmgr.agent`)."""

    moves: Moves

    def chain(self, name: str) -> bytes | None:
        """Return what an identity shows, in PEM."""
        ...

    async def acknowledged(self, of: Collection[str], limit: float) -> tuple[ProxyReport, ...]:
        """Wait until the proxies of identities have taken that."""
        ...


class Rotations:
    """Issues as its issuer does, and tells `emit` how that went. To be made on the loop that shows certificates."""

    def __init__(self, issuer: Issuing, clock: Clock, emit: Callable[[Step], None]) -> None:
        """Take the issuer; whoever shows what it issues puts itself into `shown_by`."""
        self._issuer, self._clock, self._emit = issuer, clock, emit
        self._loop = asyncio.get_running_loop()
        self._following: set[asyncio.Task[None]] = set()
        self.shown_by: Showing | None = None

    def issue(self, spec: IdentitySpec) -> Bundle:
        """Issue, on any thread; the trace goes on until proxies have taken the certificate."""
        trail = Trail("renew certificate", self._clock.now)
        trail.root.said |= {"legation.identity": spec.name, "legation.spiffe_id": spec.spiffe_id}

        try:
            with trail.step("issue"):
                bundle = self._issuer.issue(spec)
        except NotEnrolled:  # a start takes its time: no failure, and no news
            raise
        except Exception as error:
            trail.root.fail(str(error))
            self._emit_soon(trail.finish())
            raise
        self._loop.call_soon_threadsafe(self._follow, trail, spec.name, bundle)
        return bundle

    def forget(self, name: str) -> None:
        """Drop what is cached for an identity."""
        self._issuer.forget(name)

    def _emit_soon(self, root: Step) -> None:
        self._loop.call_soon_threadsafe(self._emit, root)

    def _follow(self, trail: Trail, name: str, bundle: Bundle) -> None:
        trail.root.said["legation.serial"] = bundle.serial
        task = asyncio.ensure_future(self._until_taken(trail, name, bundle))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _until_taken(self, trail: Trail, name: str, bundle: Bundle) -> None:
        if (agent := self.shown_by) is not None:
            with trail.step("keep") as kept:
                chain = bundle.chain_pem()
                if not await agent.moves.until(lambda: (agent.chain(name) or b"").startswith(chain), _LIMIT):
                    kept.fail("it is not shown")
            with trail.step("ACK") as taken:
                reports = await agent.acknowledged([name], _LIMIT)
                taken.said["legation.proxies"] = sum(report.streams for report in reports)
                if any(report.acknowledged < report.streams for report in reports):
                    taken.fail("not every proxy has taken it yet")
        self._emit(trail.finish())
