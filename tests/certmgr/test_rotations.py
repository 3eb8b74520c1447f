"""A new certificate as one trace: issued, kept, taken."""

import asyncio

from certmgr.issue.issuer import NotEnrolled
from certmgr.issue.vault import Unreachable
from certmgr.rotations import Rotations
from legation.runtime.identity import Identity, follow
from legation.runtime.tasks import Latest, until
from legation.runtime.trail import Step
from tests.certmgr.world import Clock, Issuer, world


def test_a_certificate_is_one_trace_from_vault_to_the_proxies_that_have_it(tmp_path):
    async def main():
        clock = Clock()
        seen: list[Step] = []
        issuer = Issuer(clock)
        rotations = Rotations(issuer, clock, seen.append)

        async def traces(count):
            async def are_there():
                return len(seen) >= count

            assert await until(are_there, 10), seen

        async with world(tmp_path, clock=clock, issuer=rotations) as this:
            rotations.shown_by = this.agent
            await traces(1)
            got = Latest[Identity | None](None)
            proxy = asyncio.ensure_future(follow(tmp_path / "orders.sock", "orders", got))
            async for value in got.watch():
                if value is not None:
                    break
            await this.agent.renew("orders")
            await traces(2)
            root = seen[1]
            assert root.said["legation.serial"] == this.of("orders").serial
            assert [step.name for step in root.steps] == ["issue", "keep", "ACK"]
            assert (root.steps[2].said["legation.proxies"], root.steps[2].failure) == (1, None)
            issuer.broken = NotEnrolled("not yet")
            await this.agent.renew("orders")
            issuer.broken = Unreachable("Vault is down")
            await this.agent.renew("orders")
            await traces(3)
            assert (seen[2].failure, seen[2].steps[0].failure) == ("Vault is down", "Vault is down")
            proxy.cancel()

    asyncio.run(main())
