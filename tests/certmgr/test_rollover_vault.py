"""From the embedded OpenBao to the Vault of a team, and what an operator does for it."""

import asyncio

import pytest
from cryptography import x509

from certmgr.core.layout import INT_MOUNT
from certmgr.core.ledger import Record, read
from certmgr.store import Store
from legation.mesh.names import serial_text
from legation.runtime.tasks import until
from tests.certmgr.coordinator import coordinator
from tests.certmgr.host import NAMES, Host, mesh
from tests.certmgr.rollover_scene import Scene, lists_of
from tests.certmgr.team import team
from tests.certmgr.test_revocation import revoke
from tests.certmgr.test_rollover_command import ask, issuer_of

pytestmark = pytest.mark.timeout(180)


def test_embedded_openbao_to_the_vault_of_a_team_and_the_old_one_is_needed_no_more(tmp_path):
    """Killed as it turns, too: whichever Vault is in use then, the rest follows."""

    async def main(scene: Scene, here: Host):
        turned: list[str] = []

        def cut(moment: str, phase: str) -> None:
            if (moment, phase) == ("report", "issue") and not turned:
                turned.append(phase)
                here.certmgr.kill()
                here.certmgr.start("--host", "here")

        async with coordinator(scene.state, mesh(), cut) as there:
            here.bao.start()
            here.certmgr.start("--host", "here")
            await here.certmgr.ready(names=NAMES)
            watching = asyncio.ensure_future(scene.watch())
            await there_and_back(scene, here)
            code, said = await ask(scene, "join", *scene.there())
            assert (code, "this host can log in to" in said) == (0, True), said
            code, said = await ask(scene, "start", *scene.there(), "--what", "vault", "--settle", "0s", "--wait")
            assert code == 0, said + here.certmgr.log.read_text()[-3000:]
            assert there.phase == "done"
            assert turned == ["issue"]
            here.bao.kill()
            status = await here.certmgr.ready(names=NAMES)
            assert status.vault == "ok"
            (root,) = Store(scene.state.certmgr).roots()
            assert root.subject.rfc4514_string() == "CN=Legation root of shop 2"
            shown = await here.certmgr.presented("web")
            assert issuer_of(shown) == "CN=Legation intermediate of shop 2"
            assert x509.load_pem_x509_certificates(shown.trust_bundle) == [root]
            assert scene.refused == []
            assert (await here.certmgr.renew("web")).serial != shown.serial
            code, said = await ask(scene, "start", *scene.there(), "--what", "vault")
            assert code == 2
            assert "is the Vault that this mesh uses" in said

            async def listed() -> bool:
                now = await here.certmgr.status()
                return now is not None and now.crl_ends is not None and now.problem is None

            assert await until(listed, 20), await here.certmgr.status()
            report = await revoke(here, identity="orders")
            assert len(report.serials) > 1, "those that nobody trusts any more too, though no Vault is there to ask"
            assert await until(lambda: one_vault(scene), 20)
            watching.cancel()

    with team(tmp_path) as vault:
        scene = Scene(vault, tmp_path)
        here = Host(scene.state.root)
        scene.certmgr = here.certmgr
        try:
            asyncio.run(main(scene, here))
        finally:
            here.certmgr.kill()
            here.bao.kill()


async def there_and_back(scene: Scene, here: Host) -> None:
    """Called off while it settles, each host turns back to its own OpenBao."""
    first = await here.certmgr.presented("web")
    code, said = await ask(scene, "start", *scene.there(), "--what", "vault", "--settle", "1h")
    assert code == 0, said
    assert issuer_of(await here.certmgr.presented("web")) != issuer_of(first)
    await revoked_in_both(here, first.serial)
    code, said = await ask(scene, "rollback", *scene.there(), "--settle", "0s", "--wait")
    assert code == 0, said
    again = await here.certmgr.presented("web")
    assert issuer_of(again) == issuer_of(first)
    assert again.trust_bundle == first.trust_bundle


async def revoked_in_both(here: Host, first: str) -> None:
    """Until the old CA is dropped a stolen certificate of either is revoked, by us and in the old Vault itself."""
    second = (await here.certmgr.presented("web")).serial
    report = await revoke(here, identity="web")
    assert {first, second} <= set(report.serials)
    assert {first, second} <= await listed_as_revoked(here)
    old = oldest(here, "orders")
    here.bao.vault.call(here.resident(), "post", f"{INT_MOUNT}/revoke", {"certificate": old.certificate})

    async def seen() -> bool:
        return old.serial in await listed_as_revoked(here)

    assert await until(seen, 10)


async def listed_as_revoked(here: Host) -> set[str]:
    """What proxies are shown as revoked."""
    lists = map(x509.load_pem_x509_crl, lists_of((await here.certmgr.presented("web")).crl))
    return {serial_text(revoked.serial_number) for found in lists for revoked in found}


def oldest(here: Host, identity: str) -> Record:
    """The first certificate that an identity had."""
    lines = (here.folder.certmgr / "ledger.jsonl").read_text().splitlines()
    return next(record for record, _ in read(lines) if record.identity == identity)


async def one_vault(scene: Scene) -> bool:
    """The embedded one's way in is another file; of others there is the one that is in use."""
    return len(list((scene.state.certmgr / "vaults").glob("*/"))) == 1
