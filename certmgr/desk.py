"""What people may ask of certmgr: rotate, revoke, show. Each answer says what came of it."""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from certmgr.agent import Agent
from certmgr.core.crl import normal
from certmgr.core.ledger import Record
from certmgr.enrolment import Enrolment
from certmgr.ledger import Ledger
from certmgr.revocation import CannotRevoke, Revocation
from legation.runtime.clock import Clock
from legation.runtime.control.messages import Instance, ProxyReport, RevokeReport, RevokeRequest
from legation.runtime.tasks import patiently

log = structlog.get_logger(__name__)

_PATIENCE = 2.0
"""Seconds for the proxies to take a new certificate before the old one is revoked."""

_COME_BACK = 10.0
"""Seconds after certmgr's start in which proxies open their streams again, on a busy machine too."""


class _VaultAway(CannotRevoke):
    """There is no new certificate yet."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of certmgr that an order needs; `instances` are those of the registry, where that can be asked."""

    agent: Agent
    revocation: Revocation
    ledger: Ledger
    enrolment: Enrolment
    clock: Clock
    instances: Callable[[], Awaitable[Collection[Instance]]]
    began: float = field(default_factory=time.monotonic)

    async def revoke(self, request: RevokeRequest) -> RevokeReport:
        """Revoke certificates; what is in use is renewed before, so that its holder goes on without a failure.

        While Vault is away it is tried again, for `wait` seconds a step; another refusal comes at once. CannotRevoke
        says what would be accepted; VaultError, IssueError or BadCrl what kept it.
        """
        started = self.clock.now()
        records = self._chosen(request)
        in_use = {i.name: i.serial for i in self.agent.identities()}
        hit = sorted({record.identity for record in records if in_use.get(record.identity) == record.serial})
        if request.shut_out:
            for name in hit:
                self.agent.shut_out(name)
        else:
            for name in hit:
                renew = partial(self._renew, name, in_use[name])
                await patiently(renew, request.wait, transient=(_VaultAway,), waits=partial(_waits, name))
            await self._taken(hit, _PATIENCE)
        denied = await self.revocation.revoke(records, request.by, request.wait, gently=not request.shut_out)
        proxies = await self._taken(tuple(in_use), request.wait)
        return RevokeReport(
            serials=tuple(record.serial for record in records),
            renewed=() if request.shut_out else tuple(hit),
            proxies=tuple(report for report in proxies if report.streams),
            unsynced=denied.unsynced,
            withdrawn=denied.withdrawn,
            seconds=self.clock.now() - started,
        )

    async def _taken(self, of: Collection[str], limit: float) -> tuple[ProxyReport, ...]:
        """Wait until the proxies of identities have taken what is shown, at most `limit` s; say how each is.

        Just after a start they are not back yet, and have what they had: until then they are waited for too.
        """
        rest = self.began + _COME_BACK - time.monotonic()
        if rest > 0:
            theirs = {i.id for i in await self.instances() if i.connected and i.spec.service in of}
            await self.agent.moves.until(lambda: theirs <= set(self.agent.taken()), rest)
        return await self.agent.acknowledged(of, limit)

    def _chosen(self, request: RevokeRequest) -> Sequence[Record]:
        live = self.ledger.live(self.clock.now())
        if request.serial:
            serial = normal(request.serial)
            chosen = [record for record in live if record.serial == serial]
            if not chosen:
                raise CannotRevoke(
                    f"serial {request.serial} was not issued on this host, is revoked, or has ended: "
                    "legation certs list shows those that are in use"
                )
            return chosen
        chosen = [record for record in live if record.identity == request.identity]
        if not chosen:
            raise CannotRevoke(f"{request.identity} has no certificate from this host that has not ended or is revoked")
        return chosen

    async def _renew(self, name: str, serial: str | None) -> None:
        """Have a new certificate before the old one is refused; CannotRevoke when there is none."""
        after = await self.agent.renew(name)
        if after.serial == serial:
            kind = _VaultAway if self.agent.is_worth_waiting(name) else CannotRevoke
            raise kind(
                f"nothing is revoked: {name} has no new certificate to go on with ({after.error}); "
                "to revoke it all the same, shut it out"
            )


def _waits(name: str, error: Exception) -> None:
    log.warning("a revocation waits for Vault", identity=name, reason=str(error))
