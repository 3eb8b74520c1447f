"""What the agent does with its identities, by a clock and a CA that the tests hold."""

import asyncio
from collections import Counter

import pytest

from certmgr.core.bundle import parse
from certmgr.core.plan import IdentitySpec
from certmgr.issue.issuer import WrongAnswer
from certmgr.issue.login import LoginRefused
from certmgr.issue.vault import Unreachable
from legation.runtime.identity import Identity, follow
from legation.runtime.tasks import Latest, pause, until
from tests.certmgr.authority import Authority
from tests.certmgr.host import presented
from tests.certmgr.world import NOW, ORDERS, WEB, Clock, Issuer, world


def kept(folder, name="orders"):
    return parse((folder / "identities" / f"{name}.pem").read_bytes())


def test_stored_certificate_is_served_again_and_not_issued_again(tmp_path):
    async def main():
        async with world(tmp_path) as first:
            await first.ready()
        async with world(tmp_path, issuer=first.issuer) as second:
            await second.ready()
            assert second.of("orders").serial == first.of("orders").serial
        assert first.issuer.issued == ["orders"]

    asyncio.run(main())


def test_attack_34_everything_expired_at_start_is_issued_anew(tmp_path):
    """After a suspend longer than every life: an expired certificate is not even shown, as proxies would take it."""

    async def main():
        async with world(tmp_path, ORDERS, WEB) as first:
            await first.ready()
        clock = Clock(NOW + 10 * 3600)
        issuer = Issuer(clock)
        issuer.broken = Unreachable("down")
        async with world(tmp_path, ORDERS, WEB, clock=clock, issuer=issuer) as second:
            assert [None, None] == [identity.serial for identity in second.agent.identities()]
            assert not second.agent.ready()
            issuer.broken = None
            clock.time += 10
            second.wake()
            await second.ready()

    asyncio.run(main())


@pytest.mark.parametrize("damage", ["garbage", "cut", "loose", "swapped", "link"])
def test_damaged_bundle_is_discarded_and_issued_anew(tmp_path, damage):
    async def main():
        async with world(tmp_path, ORDERS, WEB) as first:
            await first.ready()
        path, other = tmp_path / "identities" / "orders.pem", tmp_path / "identities" / "web.pem"
        match damage:
            case "garbage":
                path.write_bytes(b"\0" * 100)
            case "cut":
                path.write_bytes(path.read_bytes()[:-30])
            case "loose":
                path.chmod(0o640)
            case "swapped":
                path.write_bytes(other.read_bytes())
            case "link":
                path.rename(tmp_path / "elsewhere")
                path.symlink_to(tmp_path / "elsewhere")
        async with world(tmp_path, ORDERS, WEB) as second:
            await second.ready()
            assert second.issuer.issued == ["orders"]
            assert kept(tmp_path).serial == second.of("orders").serial != first.of("orders").serial
            assert path.stat().st_mode & 0o777 == 0o600
            assert not path.is_symlink()

    asyncio.run(main())


def test_bundle_of_another_root_than_the_pinned_one_is_discarded(tmp_path):
    async def main():
        async with world(tmp_path) as first:
            await first.ready()
            first.store.trust([Authority(NOW).root])
        async with world(tmp_path) as second:
            await second.ready()
            assert second.issuer.issued == ["orders"]

    asyncio.run(main())


def test_failure_keeps_the_old_certificate_and_counts_down(tmp_path):
    async def main():
        async with world(tmp_path) as here:
            await here.ready()
            serial = here.of("orders").serial
            here.issuer.broken = Unreachable("vault does not answer")
            here.clock.time += 0.7 * 3600
            here.wake()

            async def failed():
                return here.of("orders").error is not None

            assert await until(failed, 20)
            assert here.of("orders").error == "vault does not answer"
            assert here.of("orders").serial == serial
            assert here.agent.seconds_to_outage() == pytest.approx(0.3 * 3600)
            assert here.of("orders").renew_at <= here.clock.time + 1
            here.issuer.broken = None
            here.clock.time += 200
            here.wake()
            await until(lambda: renewed(here, serial), 5)
            assert here.of("orders").error is None
            assert here.of("orders").serial != serial

    asyncio.run(main())


@pytest.mark.parametrize("hours", [2, 10, -2], ids=["a clock that is put on", "a suspend", "a clock that is put back"])
def test_attack_24_wall_clock_that_jumps_is_seen_at_the_next_look_and_no_loop_begins(tmp_path, hours):
    """Forward, all has ended and is issued anew, once; back, what there is stays, as it is the newest."""

    async def main():
        async with world(tmp_path, ORDERS, WEB) as here:
            await here.ready()
            first = {i.name: i.serial for i in here.agent.identities()}
            here.clock.time += hours * 3600
            here.wake()
            if hours > 0:
                await here.ready()
            for _ in range(2):  # and it is looked at again
                here.wake()
                await pause(0.02)
            now = {i.name: i.serial for i in here.agent.identities()}
            assert (now == first) == (hours < 0)
            assert len(here.issuer.issued) == (2 if hours < 0 else 4)
            assert here.agent.ready() == (hours > 0), "back, they are not valid yet, and that is said"

    asyncio.run(main())


@pytest.mark.parametrize(("away", "serves"), [(0.9, True), (1.05, False)])
def test_attack_16_vault_away_until_or_past_the_end_fails_when_it_was_foretold_and_heals_without_a_herd(
    tmp_path, away, serves
):
    """Sixty identities: all stay on show, the count goes down truly, and all are new within a minute of its return."""
    many = tuple(IdentitySpec(f"s{n}", f"spiffe://shop.local/s{n}", 3600) for n in range(60))

    async def main():
        async with world(tmp_path, *many) as here:
            await here.ready()
            first = {i.name: i.serial for i in here.agent.identities()}
            here.issuer.broken = Unreachable("vault does not answer")
            here.clock.time = NOW + away * 3600
            here.wake()

            async def all_failed():
                return all(i.error for i in here.agent.identities())

            assert await until(all_failed, 20)
            assert {i.name: i.serial for i in here.agent.identities()} == first, "what there is stays on show"
            assert here.agent.seconds_to_outage() == pytest.approx(max(0.0, (1 - away) * 3600), abs=1)
            assert here.agent.ready() == serves
            here.issuer.broken, here.issuer.issued = None, []
            back = here.clock.time
            here.agent.recovered()
            seconds: Counter[int] = Counter()

            async def all_new():
                here.clock.time += 0.5
                before = len(here.issuer.issued)
                here.wake()
                await pause(0.02)
                seconds[int(here.clock.time - back)] += len(here.issuer.issued) - before
                return all(i.serial != first[i.name] for i in here.agent.identities())

            assert await until(all_new, 30)
            assert here.clock.time - back <= 60
            assert max(seconds.values()) < 50, "under the bucket, which takes 50 a second"
            assert len(here.issuer.issued) == 60, "each once"
            assert here.agent.ready()

    asyncio.run(main())


async def renewed(here, serial):
    return here.of("orders").serial != serial


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (LoginRefused("invalid secret id"), [("orders", True)]),
        (WrongAnswer("its names are wrong"), []),
        (Unreachable("down"), []),
    ],
)
def test_only_what_set_up_can_mend_is_reported_to_it(tmp_path, error, asked):
    async def main():
        async with world(tmp_path) as here:
            await here.ready()
            here.issuer.broken = error
            answer = await here.agent.renew("orders")
            assert answer.error == str(error)
            assert here.asked == asked

    asyncio.run(main())


def test_attack_32_renewal_on_request_beside_the_timer_is_one_at_a_time(tmp_path):
    async def main():
        async with world(tmp_path) as here:
            await here.ready()
            here.clock.time += 0.7 * 3600
            here.wake()
            answers = await asyncio.gather(*(here.agent.renew("orders") for _ in range(10)))
            assert len({answer.serial for answer in answers}) == 1
            assert 2 <= len(here.issuer.issued) <= 3
            assert answers[0].serial == kept(tmp_path).serial

    asyncio.run(main())


def test_attack_28_disk_that_is_full_is_a_failure_like_others(tmp_path, monkeypatch):
    """What could not be kept is not served either: after a restart nobody would know it."""

    async def main():
        async with world(tmp_path) as here:
            await here.ready()
            serial = here.of("orders").serial

            def full(*_):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(here.store, "save_bundle", full)
            answer = await here.agent.renew("orders")
            assert "No space left" in answer.error
            assert answer.serial == serial == kept(tmp_path).serial

    asyncio.run(main())


def test_identity_that_leaves_and_returns_is_a_new_one(tmp_path):
    async def main():
        async with world(tmp_path, ORDERS, WEB) as here:
            await here.ready()
            before = here.of("web").serial
            here.agent.want((ORDERS,))
            assert not (tmp_path / "identities" / "web.pem").exists()
            here.agent.want((ORDERS, WEB))
            await here.ready()
            assert here.of("web").serial != before

            async def served():
                return (await presented(tmp_path / "web.sock")).serial == here.of("web").serial

            assert await until(served, 10)

    asyncio.run(main())


def test_open_stream_sees_the_rotation_and_is_counted(tmp_path):
    """One stream over several renewals, each secret as it is issued."""

    async def main():
        async with world(tmp_path) as here:
            await here.ready()
            latest: Latest[Identity | None] = Latest(None)
            task = asyncio.ensure_future(follow(tmp_path / "orders.sock", "node", latest))
            for _ in range(3):

                async def current():
                    return latest.value is not None and latest.value.serial == here.of("orders").serial

                assert await until(current, 10)
                assert here.of("orders").streams == 1
                await here.agent.renew("orders")
            task.cancel()

            async def closed():
                return here.of("orders").streams == 0

            assert await until(closed, 20)

    asyncio.run(main())


def test_client_waits_until_there_is_an_identity(tmp_path):
    """No empty answer before: it would take from a proxy what it has."""

    async def main():
        clock = Clock()
        issuer = Issuer(clock)
        issuer.broken = Unreachable("down")
        async with world(tmp_path, clock=clock, issuer=issuer) as here:
            latest: Latest[Identity | None] = Latest(None)
            task = asyncio.ensure_future(follow(tmp_path / "orders.sock", "node", latest))

            async def bound():
                return (tmp_path / "orders.sock").exists()

            assert await until(bound, 20)
            issuer.broken = None
            clock.time += 10
            here.wake()

            async def arrived():
                return latest.value is not None

            assert await until(arrived, 10)
            task.cancel()

    asyncio.run(main())
