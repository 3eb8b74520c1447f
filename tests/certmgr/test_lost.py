"""A Vault that is gone for good, with a new one in its place: docs/vault.md, "When all is lost"."""

import asyncio
import json
import time

from certmgr.issue.setup import Authority, Setup, root_of
from certmgr.store import Store
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.host import NAMES, Certmgr, mesh
from tests.certmgr.team import ROOT, Team, team
from tests.certmgr.test_auth import host_on, secret


def credential(there: Team) -> str:
    """What `init --host FILE` writes, for a Vault that it has just set up."""
    Setup(there.vault, ROOT).run(Authority("shop", "shop.local"), time.time())
    role_id, token = Setup(there.vault, ROOT).host_credentials(60)
    return json.dumps({"role_id": role_id, "wrapped_secret_id": token})


async def all_of_the_new_one(certmgr: Certmgr, there: Team, before: set[str]) -> None:
    """Long before any of them is due: they live for an hour."""
    root, store = root_of(there.vault), Store(certmgr.folder.certmgr)

    async def new() -> bool:
        kept = [store.bundle(name) for name in NAMES]
        return all(one is not None and one.serial not in before and one.root == root for one in kept)

    assert await until(new, 30), certmgr.log.read_text()[-3000:]
    assert store.roots() == (root,)
    assert (await certmgr.presented("orders")).trust_bundle == store.root_file.read_bytes()
    assert [one.error for one in (await certmgr.ready()).identities] == [None] * 4


def test_host_goes_over_to_a_new_ca_at_once_with_its_files_removed_while_it_runs(tmp_path):
    """First the CA alone is made anew; then the server is another, which knows nobody."""
    port, file = free_port(), secret(tmp_path / "host.json", "")

    async def main(certmgr: Certmgr | None = None):
        try:
            with team(tmp_path, port=port) as there:
                file.write_text(credential(there))
                certmgr = host_on(there, tmp_path / "s", "--vault-credentials", str(file), text=mesh("1h", dev="false"))
                kept = certmgr.folder.certmgr
                before = {str(i.serial) for i in (await certmgr.ready()).identities}
                for mount in ("mesh-int", "mesh-root"):
                    there.vault.call(ROOT, "delete", f"sys/mounts/{mount}")
                credential(there)
                (kept / "root.pem").unlink()
                await all_of_the_new_one(certmgr, there, before)
                before |= {str(i.serial) for i in (await certmgr.ready()).identities}
            with team(tmp_path, port=port) as there:
                file.write_text(credential(there))
                for path in (kept / "root.pem", kept / "enrol.json", *(kept / "approle").iterdir()):
                    path.unlink()
                await all_of_the_new_one(certmgr, there, before)
        finally:
            if certmgr is not None:
                certmgr.kill()

    asyncio.run(main())
