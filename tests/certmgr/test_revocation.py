"""Revocation on a real OpenBao and a stock Envoy: by us, in Vault, across a restart, with Vault away."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from certmgr.core.crl import normal
from certmgr.core.layout import INT_MOUNT
from certmgr.issue.vault import VaultError
from certmgr.ledger import verify
from certmgr.store import Store
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import RevokeReport, RevokeRequest
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.host import Host, mesh
from tests.certmgr.test_envoy import call, envoy


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    this = Host(tmp_path_factory.mktemp("r"))
    Store(this.folder.certmgr).folder.mkdir(exist_ok=True)
    Store(this.folder.certmgr).save_mesh(mesh())
    this.bao.start()
    this.certmgr.start()
    yield this
    this.certmgr.kill()
    this.bao.kill()


@asynccontextmanager
async def peer(here: Host, folder):
    """A stock Envoy that is `orders` on this host; `dial` says whether it takes who calls with a bundle."""
    port = free_port()
    (folder / "orders.sock").symlink_to(here.folder.sds("orders"))
    async with envoy(folder, port):

        async def dial(bundle) -> bool:
            return await call(folder, port, bundle) is not None

        yield dial


async def revoke(here: Host, wait: float = 5.0, /, **wish) -> RevokeReport:
    async with here.certmgr.client() as client:
        asked = RevokeRequest(wait=wait, by="test", **wish)
        return await client.send("POST", "/revoke", asked, RevokeReport, limit=40 + wait)


def bundle_of(here: Host, name: str):
    """What a thief copies."""
    return Store(here.folder.certmgr).bundle(name)


def back(here: Host):
    async def there():
        try:
            here.resident()
        except VaultError:
            return False
        status = await here.certmgr.status()
        return status is not None and status.vault == "ok"

    return there


def ready_with_list(here: Host):
    async def there():
        status = await here.certmgr.status()
        return status is not None and status.crl_ends is not None

    return there


def test_attack_01_stolen_certificate_is_refused_in_two_seconds_and_its_owner_goes_on(running, tmp_path):
    """New handshakes; what is connected is in the hands of the routes."""

    async def main():
        await running.certmgr.ready()
        assert await until(ready_with_list(running), 10)
        async with peer(running, tmp_path) as dial:
            stolen = bundle_of(running, "web")

            async def serves():
                return await dial(stolen)

            assert await until(serves, 20), (tmp_path / "envoy.log").read_text()[-2000:]
            started = time.monotonic()
            report = await revoke(running, identity="web")
            assert stolen.serial in report.serials
            assert report.renewed == ("web",)
            assert [(p.name, p.streams, p.acknowledged) for p in report.proxies] == [("orders", 2, 2)]
            assert not await dial(stolen), "the proxy said that it has the list"
            assert time.monotonic() - started < 2
            assert await dial(bundle_of(running, "web")), "its owner has a new one"
            assert stolen.serial in (await running.certmgr.status()).revoked

    asyncio.run(main())


def test_revocation_in_vault_itself_is_seen_within_the_poll(running, tmp_path):
    """Somebody pastes the PEM into Vault's UI; nobody tells us, and Vault's own list is not rebuilt."""

    async def main():
        await running.certmgr.ready()
        assert await until(ready_with_list(running), 10)
        async with peer(running, tmp_path) as dial:
            stolen = bundle_of(running, "web")

            async def serves():
                return await dial(stolen)

            assert await until(serves, 20)
            pem = stolen.chain_pem().decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
            running.bao.vault.call(running.resident(), "post", f"{INT_MOUNT}/revoke", {"certificate": pem})

            async def refused():
                return not await dial(stolen)

            assert await until(refused, 8), "five seconds, and a little for a busy machine"
            assert (await running.certmgr.renew("web")).serial != stolen.serial
            assert await dial(bundle_of(running, "web"))

    asyncio.run(main())


def test_attack_25_list_is_in_the_first_answer_after_a_restart_without_vault(running, tmp_path):
    async def main():
        await running.certmgr.ready()
        stolen = bundle_of(running, "web")
        await revoke(running, serial=stolen.serial.upper())
        running.certmgr.kill()
        running.bao.kill()
        running.certmgr.start()
        try:
            status = await running.certmgr.ready()
            assert stolen.serial in status.revoked
            async with peer(running, tmp_path) as dial:
                fresh = bundle_of(running, "web")

                async def serves():
                    return await dial(fresh)

                assert await until(serves, 20)
                assert not await dial(stolen)
        finally:
            running.bao.start()
            assert await until(back(running), 20)

    asyncio.run(main())


def test_identity_that_is_shut_out_gets_no_new_certificate_until_somebody_rotates_it(running):
    async def main():
        await running.certmgr.ready()
        before = bundle_of(running, "orders").serial
        report = await revoke(running, identity="orders", shut_out=True)
        assert before in report.serials
        assert report.renewed == ()
        assert await running.certmgr.stop() == 0
        running.certmgr.start()
        status = await running.certmgr.ready()
        orders = next(i for i in status.identities if i.name == "orders")
        assert orders.serial == before
        assert orders.error == "it is shut out: legation certs rotate lets it in again"
        after = await running.certmgr.renew("orders")
        assert (after.serial != before, after.error) == (True, None)

    asyncio.run(main())


def test_what_cannot_be_revoked_is_said_with_what_can(running):
    async def main():
        await running.certmgr.ready()
        for wish, said in (
            ({"serial": "ffff"}, "was not issued on this host"),
            ({"serial": "xyz"}, "was not issued on this host"),
            ({"identity": "nobody"}, "nobody has no certificate from this host"),
            ({}, " has no certificate from this host"),
        ):
            with pytest.raises(ControlError, match=said) as caught:
                await revoke(running, **wish)
            assert caught.value.status == 409

    asyncio.run(main())


def test_vault_away_nothing_is_revoked_by_halves_and_it_is_said(running):
    """And it is done after all where Vault comes back while somebody waits."""

    async def main():
        await running.certmgr.ready()
        before = {name: bundle_of(running, name).serial for name in ("web", "orders")}
        running.bao.kill()
        waiting: list[asyncio.Future[RevokeReport]] = []
        try:
            with pytest.raises(ControlError, match=r"nothing is revoked: web has no new certificate.*does not answer"):
                await revoke(running, 0.2, identity="web")
            assert bundle_of(running, "web").serial == before["web"]
            wishes = ({"identity": "web"}, {"identity": "orders", "shut_out": True})
            waiting.extend(asyncio.ensure_future(revoke(running, 30, **wish)) for wish in wishes)
            assert not (await asyncio.wait(waiting, timeout=0.5))[0]
        finally:
            running.bao.start()
        for report, name in zip(await asyncio.gather(*waiting), before, strict=True):
            assert before[name] in report.serials
        assert bundle_of(running, "web").serial != before["web"]
        assert bundle_of(running, "orders").serial == before["orders"]
        assert (await running.certmgr.renew("orders")).error is None

    asyncio.run(main())


def test_every_issue_and_revocation_is_in_the_ledger_with_vaults_request(running):
    """And Vault's audit log would have the same id."""

    async def main():
        await running.certmgr.ready()
        ledger = running.folder.certmgr / "ledger.jsonl"
        before = verify([ledger]).lines
        serial = (await running.certmgr.renew("web")).serial
        await revoke(running, serial=serial)
        import json

        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert verify([ledger]).lines == len(lines) >= before + 3
        mine = [line for line in lines if line["serial"] == serial]
        assert ["issue", "revoke"] == [line["what"] for line in mine]
        assert all(len(line["request_id"]) == 36 for line in mine)
        assert mine[1]["by"] == "test"
        assert normal(serial) == serial
        assert "PRIVATE" not in ledger.read_text()

    asyncio.run(main())
