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
from legation.runtime.control.messages import RevokedResult, RevokeRequest
from tests.certmgr.world import world

LONG = 600.0


class Denials:
    """What a revocation that works does, once the order comes to it."""

    async def revoke(self, *_, **__):
        return RevokedResult()


def desk(here):
    ledger = SimpleNamespace(live=lambda _: [SimpleNamespace(identity="orders", serial=here.of("orders").serial)])
    return Desk(here.agent, cast(Revocation, Denials()), cast(Ledger, ledger), cast(Enrolment, None), here.clock)


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
