"""The embedded OpenBao's own root: another one follows it in time, by itself."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from certmgr import generations
from certmgr.core.own_root import have_ended
from certmgr.core.plan import IdentitySpec
from certmgr.core.setup import Authority
from certmgr.core.trust import fingerprint
from certmgr.embedded import Embedded
from certmgr.issue.setup import root_of
from certmgr.issue.vault import AppRole
from certmgr.ledger import verify
from certmgr.store import Store, app_role
from legation.mesh.rollover import CaRef, HostProgress, Rollover
from legation.runtime.control.rollover_messages import RolloverView
from legation.runtime.embedded import desired
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from tests.certmgr.authority import Authority as TheirAuthority
from tests.certmgr.bao import Bao
from tests.certmgr.coordinator import coordinator
from tests.certmgr.host import NAMES, Certmgr, mesh
from tests.certmgr.rollover_scene import Proxies
from tests.certmgr.test_revocation import revoke
from tests.certmgr.test_rollover_command import issuer_of
from tests.support.command import legation

pytestmark = pytest.mark.timeout(300)

DAY = 86400.0
ROOT = "CN=Legation DEV root of shop"
INTERMEDIATE = "CN=Legation DEV intermediate of shop"
HERE = ("--host", "here", "--revocation-poll", "60")
"""No list is looked at by chance: those of a CA that was called off stay until there is a need for others."""


class Up:
    """What `legation up` does of it: runs the OpenBaos that are desired. And a certmgr."""

    def __init__(self, root: Path, seed: Path) -> None:
        self.state, self.seed = StateFolder(root), seed
        self.state.make()
        self.certmgr = Certmgr(self.state)
        self.servers: dict[int, Bao] = {}
        self.proxies = Proxies(self.state)

    def bao(self, number: int) -> Bao:
        return Bao(self.state.openbao(number), self.state.bao_socket(number), self.seed)

    async def follow(self) -> None:
        while True:
            for number in set(self.servers) - set(desired(self.state)):
                self.servers.pop(number).kill()
            for number in set(desired(self.state)) - set(self.servers):
                self.servers[number] = self.bao(number)
                self.servers[number].start()
            await until(self._differs, 5)

    async def _differs(self) -> bool:
        return set(self.servers) != set(desired(self.state))

    def end(self) -> None:
        self.certmgr.kill()
        for server in self.servers.values():
            server.kill()

    @asynccontextmanager
    async def running(self, cut=lambda *_: None):
        async with coordinator(self.state, mesh(), cut) as there:
            following = asyncio.ensure_future(self.follow())
            self.certmgr.start(*HERE)
            watching = asyncio.ensure_future(self.proxies.watch())
            try:
                yield there
            finally:
                watching.cancel()
                following.cancel()
                self.end()

    def secrets(self) -> list[bytes]:
        """Every secret on disk that is text: of the last OpenBao, of those who log in there, and of identities."""
        kept = self.state.certmgr
        approles = [*kept.glob("vaults/*/enrol.json"), *kept.glob("approle/*.json")]
        keys = [*kept.glob("identities/*.pem"), self.state.openbao(3) / "door.key"]
        found = [(app_role(path) or AppRole("", "")).secret_id for path in approles]
        return [text.encode() for text in (*found, *(path.read_text().splitlines()[1] for path in keys))]

    async def order(self, *words: str) -> None:
        """`legation certs rollover …`, of somebody with no token."""
        argv = ("certs", "rollover", *words, "--state", str(self.state.root))
        done = await asyncio.to_thread(legation, *argv, folder=self.state.root)
        assert done.returncode == 0, done.stderr

    async def runs_alone(self, number: int, root: str) -> None:
        """Wait until this OpenBao is the only one that is desired, and its root the only one that is trusted."""

        async def alone() -> bool:
            return desired(self.state) == (number,) and roots(self.state) == [root]

        assert await until(alone, 60), self.certmgr.log.read_text()[-3000:]

    def made(self, monkeypatch, hours: float) -> tuple[x509.Certificate, ...]:
        """Make the first one, with a root of another life than it has now, and trust that."""
        monkeypatch.setattr(Authority, "root_hours", hours)
        monkeypatch.setattr("certmgr.issue.setup._MARGIN", 1)
        server = self.bao(1)
        server.start()
        server.wait()
        store = Store(self.state.certmgr)
        with store.lock():
            embedded = Embedded(server.vault, server.folder, store.host_file)
            embedded.set_up(Authority("shop", "shop.local", dev=True), time.time())
            store.trust([root_of(server.vault)])
        server.kill()
        return store.roots()


@pytest.fixture
def up(tmp_path, seed):
    this = Up(tmp_path / "s", seed)
    yield this
    this.end()


def roots(state: StateFolder) -> list[str]:
    return [root.subject.rfc4514_string() for root in Store(state.certmgr).roots()]


def test_attack_35_a_root_that_lives_too_long_is_followed_by_one_of_seven_days(up, monkeypatch):
    """As in a state folder of an earlier version: at once, and by itself, though certmgr is killed as it begins.

    It can be called off with no token; then the first one goes on alone, and it is not tried again at once. It can be
    asked for too; the next one has the name of the one that was called off, and a list of its own.
    """
    killed: list[str] = []

    def cut(moment: str, phase: str) -> None:
        if (moment, phase) == ("after", "trust") and not killed:
            killed.append(phase)
            up.certmgr.kill()
            up.certmgr.start(*HERE)

    async def main() -> None:
        async with up.running(cut) as there:

            async def settles() -> bool:
                return there.phase == "settle"

            async def moved() -> None:
                assert await until(settles, 120), up.certmgr.log.read_text()[-3000:]
                assert issuer_of(await up.certmgr.presented("web")) == f"{INTERMEDIATE} 2"

            assert (await up.certmgr.ready(names=NAMES)).ready
            await moved()
            await revoke(up, identity="web")  # its list has a higher number than the first one of its successor
            await up.order("rollback", "--settle", "0s", "--wait")
            assert there.phase == "done"
            await up.runs_alone(1, ROOT)
            assert issuer_of(await up.certmgr.presented("web")) == INTERMEDIATE

            await up.order("start")
            assert len(roots(up.state)) == 2
            await moved()
            (rollover,) = [there.standing.rollover]
            assert (rollover.by, rollover.new.vault, rollover.settle) == ("certmgr", "embedded:3", 600), (
                "2 may still end"
            )
            await there.rollovers.move(there.standing.version, replace(rollover, settle=0))
            await up.runs_alone(3, f"{ROOT} 2")
            (new,) = Store(up.state.certmgr).roots()
            assert (new.not_valid_after_utc - new.not_valid_before_utc).total_seconds() <= 7 * DAY
            assert not (up.state.certmgr / "enrol.json").exists()
            assert (await up.certmgr.renew("web")).error is None
            assert killed == ["trust"]
            assert up.proxies.refused == []
            hidden = up.secrets()
            assert len(hidden) == 2 + 4 + 4
            said = up.certmgr.log.read_bytes() + up.servers[3].log.read_bytes() + (await up.certmgr.metrics()).encode()
            assert [secret for secret in (*hidden, b"PRIVATE KEY", b'"s.', b'"b.') if secret in said] == []

    up.made(monkeypatch, 87599)
    asyncio.run(main())


def test_attack_35_a_host_that_was_off_past_the_end_of_its_root_begins_with_a_new_one_and_says_so(up, monkeypatch):
    old = up.made(monkeypatch, 3 / 3600)
    before = TheirAuthority(time.time()).issue(IdentitySpec("web", "spiffe://shop.local/web", 1))
    store = Store(up.state.certmgr)
    store.save_bundle("web", before)
    store.save_credentials("web", AppRole("legation-web", "of the one that has ended"))

    async def main() -> None:
        async def has_ended() -> bool:
            return have_ended(old, time.time())

        assert await until(has_ended, 30)
        async with up.running():
            await up.certmgr.ready(names=NAMES)
            said = up.certmgr.log.read_text()
            assert "the root of the embedded OpenBao has ended while this host was off" in said
            assert desired(up.state) == (2,)
            assert store.roots() != old
            assert (await up.certmgr.presented("web")).serial != before.serial

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "number"),
    [({"phase": "done", "back": True}, 2), ({"phase": "done"}, 2), ({"phase": "trust"}, 3), ({"phase": "settle"}, 3)],
    ids=["called off", "done", "at trust", "at settle"],
)
def test_what_xds_server_still_has_of_a_roll_over_among_lost_cas_leads_nobody_back(up, monkeypatch, change, number):
    """The host was off until no root of it was good any more: the new one stays, and another can follow it."""
    old = up.made(monkeypatch, 3 / 3600)
    lost = CaRef("int-1", "root-1", intermediate="aa", root=fingerprint(old[0]))
    record = Rollover("a", "vault", lost, replace(lost, vault=generations.url(2), root="bb"), "trust", 1.0, 1.0)
    if change["phase"] != "done":  # both were to run
        generations.want(up.state, (1, 2))

    async def main() -> None:
        async def has_ended() -> bool:
            return have_ended(old, time.time())

        assert await until(has_ended, 30)
        async with coordinator(up.state, mesh()) as there:
            await there.rollovers.move(0, replace(record, **change))
        async with up.running() as there:
            await up.certmgr.ready(names=NAMES)
            fresh = Store(up.state.certmgr).roots()
            assert desired(up.state) == (number,)
            assert fresh != old

            async def is_over() -> bool:
                return there.phase == "done"

            assert await until(is_over, 30), up.certmgr.log.read_text()[-3000:]
            await up.order("start", "--settle", "0s", "--wait")
            await up.runs_alone(number + 1, f"{ROOT} 2")
            assert up.certmgr.log.read_text().count("has ended while this host was off") == 1

    asyncio.run(main())


def test_attack_35_the_embedded_openbao_is_for_nobody_who_does_not_say_dev(up):
    async def main() -> None:
        async with coordinator(up.state, mesh(dev="false")):
            server = up.bao(1)
            server.start()
            up.certmgr.start()
            try:

                async def said() -> bool:
                    status = await up.certmgr.status()
                    return status is not None and "certificates: {dev: true}" in (status.problem or "")

                assert await until(said, 20), up.certmgr.log.read_text()
                assert Store(up.state.certmgr).roots() == ()
            finally:
                up.certmgr.kill()
                server.kill()

    asyncio.run(main())


def test_whoever_is_issuing_as_the_host_turns_to_another_vault_does_not_break_the_ledger(up):
    """The old Vault hangs, and answers when this host has turned to the new one already."""
    ledger = up.state.certmgr / "ledger.jsonl"

    async def main():
        async with up.running() as there:
            await up.certmgr.ready(names=NAMES)
            async with up.certmgr.client() as client:
                await client.send("POST", "/root", None, RolloverView, limit=90)
            await there.rollovers.move(there.standing.version, replace(there.standing.rollover, paused=True))

            async def taken():
                return any(said.phase == "trust" and not said.waits for said in there.standing.hosts.values())

            assert await until(taken, 30), there.standing
            os.kill(up.servers[1].process.pid, signal.SIGSTOP)
            renewing = [asyncio.ensure_future(up.certmgr.renew(name)) for name in ("web", "orders")]
            for _ in range(5):  # what was asked before is begun with by then
                await up.certmgr.status()
            await there.rollovers.move(there.standing.version, replace(there.standing.rollover, paused=False))

            async def issued():
                return ledger.read_text().count('"issue"') >= 2 * len(NAMES)

            assert await until(issued, 30), up.certmgr.log.read_text()[-3000:]
            os.kill(up.servers[1].process.pid, signal.SIGCONT)

            async def late():
                return ledger.read_text().count('"issue"') >= 2 * len(NAMES) + len(renewing)

            assert await until(late, 20), ledger.read_text()
            assert verify([ledger]).lines >= 2 * len(NAMES) + len(renewing)
            await asyncio.gather(*renewing, return_exceptions=True)

    asyncio.run(main())


def test_a_look_at_the_last_roll_over_does_not_end_the_openbao_that_is_being_set_up(up):
    """As when xds_server is restarted, and says again that the last one is over, while another one is prepared."""

    async def main():
        async with up.running() as there:
            await up.certmgr.ready(names=NAMES)
            await up.order("start", "--settle", "0s", "--wait")
            await up.runs_alone(2, f"{ROOT} 2")
            async with up.certmgr.client() as client:
                order = asyncio.ensure_future(client.send("POST", "/root", None, RolloverView, limit=90))

                async def is_started():
                    return desired(up.state) == (2, 3)

                assert await until(is_started, 20)
                await there.rollovers.report(HostProgress("another"))  # the same standing once more
                await order
            assert desired(up.state) == (2, 3)

    asyncio.run(main())
