"""For how long an order waits, by a clock and a CA that the tests hold."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from certmgr.desk import Desk
from certmgr.enrolment import Enrolment
from certmgr.issue.issuer import WrongAnswer
from certmgr.issue.vault import Denied, Missing, Rejected, Sealed, Throttled, Unreachable
from certmgr.ledger import Ledger
from certmgr.revocation import CannotRevoke, Revocation
from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import Instance, RevokedResult, RevokeRequest
from legation.runtime.identity import Identity as Presented
from legation.runtime.identity import follow
from legation.runtime.tasks import Latest
from tests.certmgr.world import world

LONG = 600.0


class Denials:
    """What a revocation that works does, once the order comes to it: `hears` of it."""

    def __init__(self, hears=lambda: None):
        self.hears = hears

    async def revoke(self, *_, **__):
        self.hears()
        return RevokedResult()


def desk(here, hears=lambda: None, instances=()):
    async def known():
        return instances

    ledger = SimpleNamespace(live=lambda _: [SimpleNamespace(identity="orders", serial=here.of("orders").serial)])
    denials = cast(Revocation, Denials(hears))
    return Desk(here.agent, denials, cast(Ledger, ledger), cast(Enrolment, None), here.clock, known)


@pytest.mark.parametrize(
    "error",
    [Denied("permission denied"), Missing("no such role"), Rejected("bad input"), WrongAnswer("not what was asked")],
)
def test_a_refusal_that_waiting_cannot_mend_comes_at_once(tmp_path, error):
    async def main():
        async with world(tmp_path) as here, asyncio.timeout(20):
            await here.ready()
            here.issuer.broken = error
            with pytest.raises(CannotRevoke, match=f"nothing is revoked: .*{error}"):
                await desk(here).revoke(RevokeRequest(identity="orders", wait=LONG))

    asyncio.run(main())


@pytest.mark.parametrize("error", [Unreachable("down"), Sealed("sealed"), Throttled("slowly")])
def test_a_vault_that_is_away_is_waited_for_and_one_line_says_so(tmp_path, error):
    async def main():
        async with world(tmp_path) as here, asyncio.timeout(20):
            await here.ready()
            before = here.of("orders").serial
            here.issuer.broken = error
            order = asyncio.ensure_future(desk(here).revoke(RevokeRequest(identity="orders", wait=8)))
            attempts = here.agent._held["orders"].attempts
            enough = attempts.value + 4
            async for number in attempts.watch():
                if number >= enough:
                    break
            here.issuer.broken = None
            assert (await order).serials == (before,)
            assert here.of("orders").serial != before

    with capture_logs() as said:
        asyncio.run(main())
    warnings = [line["event"] for line in said if line["log_level"] == "warning"]
    assert warnings == ["certificate not issued", "a revocation waits for Vault"]


@pytest.mark.parametrize("connected", [True, False])
def test_just_after_a_start_a_proxy_that_shows_the_old_certificate_is_waited_for(tmp_path, connected):
    """Its streams ended with the certmgr before, as at a turn to another Vault: it is back some time within 2 s."""

    async def main():
        async with world(tmp_path) as here, asyncio.timeout(20):
            await here.ready()
            shown: Latest[Presented | None] = Latest(None)
            showed: list[str | None] = []
            away = [instance("orders", connected=connected), instance("web", connected=True)]
            this = desk(here, lambda: showed.append(serial_of(shown.value)), away)
            order = asyncio.ensure_future(this.revoke(RevokeRequest(identity="orders")))
            await here.agent.moves.until(lambda: here.issuer.issued == ["orders"] * 2, 10)
            if connected:
                assert not (await asyncio.wait([order], timeout=0.5))[0]
                proxy = asyncio.ensure_future(follow(tmp_path / "orders.sock", "orders-1", shown))
            await order
            assert showed == [here.of("orders").serial if connected else None]
            if connected:
                proxy.cancel()

    asyncio.run(main())


def test_just_after_a_start_an_order_is_done_when_whoever_is_to_know_what_is_revoked_is_back(tmp_path):
    async def main():
        async with world(tmp_path) as here, asyncio.timeout(20):
            await here.ready()
            heard: list[bool] = []
            this = desk(here, lambda: heard.append(True), [instance("orders", connected=True)])
            order = asyncio.ensure_future(this.revoke(RevokeRequest(identity="orders", shut_out=True)))
            assert not (await asyncio.wait([order], timeout=0.5))[0]
            assert heard, "what is revoked is refused by all others at once"
            proxy = asyncio.ensure_future(follow(tmp_path / "orders.sock", "orders-1", Latest(None)))
            assert [(one.streams, one.acknowledged) for one in (await order).proxies] == [(1, 1)]
            proxy.cancel()

    asyncio.run(main())


def instance(service, *, connected):
    spec = InstanceSpec(f"{service}-1", service, "v1", "boot", "127.0.0.1")
    return Instance(spec=spec, state="ready", healthy=True, connected=connected, synced=True, spiffe_id="")


def serial_of(shown: Presented | None) -> str | None:
    return None if shown is None else shown.serial
