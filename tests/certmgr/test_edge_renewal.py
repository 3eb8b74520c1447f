"""The gateway's certificates that certmgr has issued: what is renewed when, kept and shown."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from certmgr.edge import IssuedSites
from certmgr.issue.issuer import NotEnrolled
from certmgr.issue.vault import Denied
from certmgr.metrics import Metrics
from certmgr.sites import Sites
from certmgr.store import Store
from legation.mesh.load import load
from legation.mesh.names import serial_text
from legation.runtime.tasks import until
from tests.certmgr.authority import Authority, signed
from tests.certmgr.world import Clock


class Signer:
    """Issues at once; or raises what is in `broken`."""

    def __init__(self, clock):
        self.clock, self.ca, self.broken, self.issued = clock, Authority(clock.now()), None, 0

    def issue(self, spec):
        if self.broken is not None:
            raise self.broken
        self.issued += 1
        now = self.clock.now()
        return signed(self.ca, spec.hosts, life=(now - 60, now + spec.ttl))


class Desk:
    """Issued sites on a folder, with a clock and a CA that the test holds."""

    def __init__(self, folder):
        self.clock = Clock()
        self.signer, self.store, self.metrics = Signer(self.clock), Store(folder), Metrics(CollectorRegistry())
        self.asked, self.shown, self.revoked = [], [], []
        self.issued = self.make()

    def make(self):
        made = IssuedSites(
            self.signer.issue, self.store, self.metrics, self.clock,
            lambda name, refused: self.asked.append((name, refused)),
        )  # fmt: skip
        self.sites = Sites(self.store, self.metrics, lambda pairs, problem: self.shown.append((pairs, problem)), made)
        return made

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.issued.run(self.sites.tell, lambda: self.revoked))
        try:
            yield
        finally:
            task.cancel()

    async def until(self, what):
        async def holds():
            return what()

        assert await until(holds, 10), (self.shown, self.asked)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    with desk.store.lock():
        yield desk


def alone(hosts: str = "[shop.test]", tls: str = "issuer: certmgr", ttl: str = "600s"):
    expose = f"{{port: 8443, hosts: {hosts}, tls: {{{tls}}}}}"
    text = f"mesh: m\ntrust_domain: m.local\ncertificates: {{ttl: {ttl}}}\nservices:\n"
    return load(f"{text}  shop: {{protocol: http, port: 80, expose: {expose}}}\n", "mesh.yaml").mesh


class SlowDisk(Store):
    """Waits in the midst of a certificate's writing until the test goes on."""

    def __init__(self, folder):
        super().__init__(folder)
        self.writing, self.go_on, self.written = threading.Event(), threading.Event(), False

    def save_site(self, name, pair):
        self.writing.set()
        assert self.go_on.wait(10)
        super().save_site(name, pair)
        self.written = True


@pytest.fixture
def writing(desk):
    """A desk in the midst of writing its first certificate."""
    desk.store = SlowDisk(desk.store.folder)
    desk.issued = desk.make()
    return desk


def test_hosts_that_change_while_a_certificate_is_written_are_asked_for(writing, tmp_path):
    """What was written is for others: it is not taken for theirs."""

    async def main():
        writing.sites.want(alone(), tmp_path)
        async with writing.running():
            assert await asyncio.to_thread(writing.store.writing.wait, 10)
            writing.sites.want(alone(hosts="[shop.test, www.test]"), tmp_path)
            writing.store.go_on.set()
            await writing.until(writing.issued.pairs)
            assert writing.issued.pairs()["shop"].hosts == ("shop.test", "www.test")

    asyncio.run(main())


def test_who_leaves_while_a_certificate_is_written_leaves_no_file(writing, tmp_path):
    async def main():
        writing.sites.want(alone(), tmp_path)
        async with writing.running():
            assert await asyncio.to_thread(writing.store.writing.wait, 10)
            writing.issued.want(())
            writing.store.go_on.set()
            file = tmp_path / "sites" / "shop.json"
            await writing.until(lambda: writing.store.written and not file.exists())
        assert writing.issued.pairs() == {}

    asyncio.run(main())


def test_it_is_renewed_at_half_of_its_life_and_kept_over_a_restart(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        async with desk.running():
            await desk.until(lambda: desk.signer.issued == 1)
            desk.clock.time += 200
            await desk.until(lambda: len(desk.shown[-1][0]) == 1)
            assert desk.signer.issued == 1
            desk.clock.time += 200
            await desk.until(lambda: desk.signer.issued == 2)
            await desk.until(lambda: desk.shown[-1][0]["shop"].not_after == desk.clock.time + 600)
        desk.issued = desk.make()
        desk.sites.want(alone(), tmp_path)
        assert desk.shown[-1][0]["shop"].issued
        async with desk.running():
            desk.sites.want(alone(ttl="300s"), tmp_path)
            await desk.until(lambda: desk.signer.issued == 3), "its life is too long now"
            desk.sites.want(alone(hosts="[shop.test, www.test]"), tmp_path)
            await desk.until(lambda: desk.signer.issued == 4)
            await desk.until(lambda: len(desk.shown[-1][0]) == 1)
        text = desk.store.folder / "sites" / "shop.json"
        assert text.stat().st_mode & 0o777 == 0o600
        bare = "mesh: shop\ntrust_domain: shop.local\nservices:\n  web: {protocol: http, port: 80}\n"
        desk.sites.want(load(bare, "m").mesh, tmp_path)
        assert not text.exists()
        assert desk.shown[-1] == ({}, None)

    asyncio.run(main())


def test_what_is_revoked_is_replaced_once(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        async with desk.running():
            await desk.until(lambda: desk.shown and desk.shown[-1][0])
            first = x509.load_pem_x509_certificates(desk.shown[-1][0]["shop"].chain)[0]
            desk.signer.broken = Denied("403")
            desk.revoked.append(serial_text(first.serial_number))
            await desk.until(lambda: desk.asked)
            desk.signer.broken = None
            desk.clock.time += 40
            await desk.until(lambda: desk.signer.issued == 2)
            assert len(desk.asked) < 9, "while Vault says no, it is asked no more often than else"

    asyncio.run(main())


def test_what_keeps_it_is_said_and_the_last_one_stays(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        desk.signer.broken = NotEnrolled("no credentials yet")
        async with desk.running():
            await desk.until(lambda: desk.asked == [("legation-edge", False)])
            assert desk.shown[-1] == ({}, None), "it is on its way"
            desk.signer.broken = None
            desk.issued.recovered()
            desk.clock.time += 1
            await desk.until(lambda: "shop" in desk.shown[-1][0])
            desk.signer.broken = Denied("403")
            desk.clock.time += 400
            await desk.until(lambda: desk.shown[-1][1] is not None)
            assert desk.shown[-1][1] == "certificate of shop for the gateway: 403"
            assert "shop" in desk.shown[-1][0]
            assert desk.metrics.registry.get_sample_value("certmgr_edge_certificate_broken", {"service": "shop"}) == 1
            assert desk.asked[-1] == ("legation-edge", False)

    asyncio.run(main())


def test_a_damaged_or_foreign_file_is_not_shown(desk, tmp_path):
    for text in ("{", '{"chain": "YQ==", "key": "YQ==", "hosts": ["shop.test"], "not_after": 9e9}'):
        (desk.store.folder / "sites" / "shop.json").write_text(text)
        (desk.store.folder / "sites" / "shop.json").chmod(0o600)
        desk.issued = desk.make()
        desk.sites.want(alone(), tmp_path)
        assert desk.shown[-1] == ({}, None)
