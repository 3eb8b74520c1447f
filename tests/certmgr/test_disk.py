"""What is on the disk before what, as decided in docs/decisions: by an agent that is cut off at each step."""

import asyncio
import os
import signal
import threading
from dataclasses import replace

import pytest

from certmgr.core.bundle import parse
from certmgr.core.plan import IdentitySpec
from certmgr.ledger import Ledger, verify
from legation.runtime.tasks import until
from tests.certmgr.dying import Recorder
from tests.certmgr.test_ledger import ISSUE
from tests.certmgr.world import NOW, ORDERS, Clock, world
from tests.support import forks

STEPS = {
    "its line is written": "certmgr.ledger:Ledger.append",
    "its line is on the disk": "certmgr.ledger:Ledger.settle",
    "its bundle is written": "certmgr.store.write",
    "its bundle has its name": "os.replace",
    "it is shown": "certmgr.sds:Secrets.show",
}


def serials(folder) -> set[str]:
    ledger = Ledger(folder / "ledger.jsonl")
    assert ledger.open(NOW) is None
    return {record.serial for record in ledger.live(NOW)}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_attack_30_killed_at_any_step_of_an_issue_what_is_kept_is_in_the_ledger(tmp_path, step, moment):
    """And the next life serves it without another issue, or issues one where none was kept."""
    log = tmp_path / "log"
    life = forks.start("tests.certmgr.dying:main", [str(tmp_path), moment, STEPS[step]], log)
    assert life.wait(30) == -signal.SIGKILL, log.read_text()
    file = tmp_path / "identities" / "orders.pem"
    kept = parse(file.read_bytes()).serial if file.exists() else None
    assert kept is None or kept in serials(tmp_path)

    async def main() -> None:
        issuer = Recorder(Clock(), Ledger(tmp_path / "ledger.jsonl"))
        issuer.ledger.open(NOW)
        async with world(tmp_path, issuer=issuer) as here:
            await here.ready()
            assert issuer.issued == (["orders"] if kept is None else [])
            assert kept in (None, here.of("orders").serial)

    asyncio.run(main())
    if (tmp_path / "ledger.jsonl").exists():
        verify([tmp_path / "ledger.jsonl"])


class Held(Ledger):
    """A ledger on a disk that takes its time."""

    def __init__(self, path):
        super().__init__(path)
        self.may = threading.Event()

    def settle(self, lines=None):
        self.may.wait(10)
        super().settle(lines)


def test_nothing_is_shown_before_its_line_is_on_the_disk_and_nobody_else_waits_for_that(tmp_path):
    wanted = [IdentitySpec(f"s{n}", f"spiffe://shop.local/s{n}", 3600) for n in range(12)]

    async def main() -> None:
        async with world(tmp_path) as here:
            await here.ready()
            here.agent._issuance._book = held = Held(tmp_path / "held.jsonl")
            here.agent.want((ORDERS, *wanted))

            async def all_issued() -> bool:
                return len(here.issuer.issued) == 13

            assert await until(all_issued, 20), here.issuer.issued
            assert [one.serial for one in here.agent.identities() if one.name != "orders"] == [None] * 12
            assert [path.stem for path in (tmp_path / "identities").iterdir()] == ["orders"]
            held.may.set()
            await here.ready()

    asyncio.run(main())


def test_a_disk_that_fails_is_a_failure_and_the_old_one_stays(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    async def main() -> None:
        async with world(tmp_path) as here:
            await here.ready()
            serial = here.of("orders").serial
            monkeypatch.setattr(here.agent._issuance._book, "settle", broken)
            answer = await here.agent.renew("orders")
            assert ("Input/output error" in answer.error, answer.serial) == (True, serial)

    asyncio.run(main())


def test_many_lines_wait_for_the_disk_once(tmp_path, monkeypatch):
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(10):
        ledger.append(replace(ISSUE, serial=f"{number:02x}"))
    assert syncs == []
    for _ in range(10):
        ledger.settle()
    assert len(syncs) == 2, "the file, and once its name in the folder"
    ledger.add(ISSUE)
    assert len(syncs) == 3
    ledger.append(replace(ISSUE, serial="ee"))
    ledger.settle(11)
    assert len(syncs) == 3, "whose line is there already waits for nobody's that came after"


def test_a_bundle_that_was_revoked_is_not_served_after_a_power_cut_has_brought_it_back(tmp_path):
    """Its renewal was not on the disk yet, its revocation was."""

    async def main() -> None:
        async with world(tmp_path) as first:
            await first.ready()
            old = first.of("orders").serial
        ledger = Ledger(tmp_path / "ledger.jsonl")
        ledger.add(replace(ISSUE, what="revoke", serial=old, not_after=NOW + 3600))
        async with world(tmp_path) as second:
            await second.ready()
            assert second.of("orders").serial != old

    asyncio.run(main())


def test_who_is_shut_out_gets_nothing_at_a_start_with_nothing_on_the_disk(tmp_path):
    async def main() -> None:
        async with world(tmp_path) as first:
            await first.ready()
            first.agent.shut_out("orders")
            first.store.discard_bundle("orders")
        async with world(tmp_path, issuer=first.issuer) as second:
            answer = second.of("orders")
            assert (answer.serial, "shut out" in answer.error) == (None, True)
            second.wake()
            second.wake()
            assert not await until(lambda: issued_again(first), 0.5)
            assert (await second.agent.renew("orders")).serial is not None

    asyncio.run(main())


async def issued_again(first) -> bool:
    return len(first.issuer.issued) > 1
