"""`certificates.stored`: a security team revokes by a serial number, in Vault's own UI, and nobody tells the mesh."""

import asyncio

from certmgr.core.layout import INT_MOUNT
from certmgr.store import Store
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.host import Certmgr, mesh
from tests.certmgr.team import ROOT, team
from tests.certmgr.test_envoy import call, envoy
from tests.support.command import legation

STORED = mesh().replace("ttl: 10m", "ttl: 10m, stored: true")


def test_a_serial_that_is_revoked_in_vaults_own_ui_is_refused_within_the_poll(tmp_path):
    async def main(there, certmgr: Certmgr):
        await certmgr.ready()
        (tmp_path / "orders.sock").symlink_to(certmgr.folder.sds("orders"))
        port = free_port()
        async with envoy(tmp_path, port):
            copied = Store(certmgr.folder.certmgr).bundle("web")
            assert copied is not None

            async def taken() -> bool:
                return await call(tmp_path, port, copied) is not None

            async def listed() -> bool:
                status = await certmgr.status()
                return status is not None and status.crl_ends is not None

            assert await until(listed, 20)
            assert await until(taken, 20)
            written = ":".join(copied.serial[i : i + 2] for i in range(0, len(copied.serial), 2))
            there.vault.call(ROOT, "post", f"{INT_MOUNT}/revoke", {"serial_number": written})

            async def refused() -> bool:
                return not await taken()

            assert await until(refused, 15), "the poll is 5 s, and a busy machine takes a little"
            status = await certmgr.status()
            assert status is not None
            assert copied.serial in status.revoked
            errors = {identity.name: identity.error for identity in status.identities}
            assert errors["web"] == "its certificate is revoked: legation certs rotate web gives it another"
            assert errors["orders"] is None
            assert (await certmgr.renew("web")).error is None

    with team(tmp_path) as there:
        (tmp_path / "mesh.yaml").write_text(STORED)
        words = ("--vault", there.url, "--vault-ca", str(there.ca))
        env = {"HOME": str(tmp_path), "VAULT_TOKEN": there.operator()}
        host = ("--yes", "--host", str(tmp_path / "host.json"))
        done = legation("certs", "init", *words, *host, folder=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert (there.vault.read(ROOT, f"{INT_MOUNT}/roles/service") or {})["no_store"] is False
        folder = StateFolder(tmp_path / "state")
        folder.make()
        with Store(folder.certmgr).lock():
            Store(folder.certmgr).save_mesh(STORED)
        certmgr = Certmgr(folder)
        certmgr.start("--vault-address", there.url, "--vault-ca", str(there.ca), "--vault-credentials", host[-1])
        try:
            asyncio.run(main(there, certmgr))
        finally:
            certmgr.kill()
