"""The embedded OpenBao's first set-up, cut off at any step, and the one of an earlier layout taken over."""

import asyncio
import json
import time

import pytest

from certmgr import openbao
from certmgr.core.layout import INT_MOUNT, MAKE_ROOT, ROOT_MOUNT
from certmgr.core.policies import POLICIES
from certmgr.core.setup import OLD_OPERATOR
from certmgr.embedded import Embedded
from certmgr.issue.setup import Setup, root_of
from certmgr.issue.vault import AppRole, Denied, Rejected, Token, Vault, VaultError
from certmgr.store import Store, app_role
from tests.certmgr.bao import Bao
from tests.certmgr.conftest import AUTHORITY
from tests.certmgr.host import Host, mesh, xds_server

WRITE = '["create", "read", "update", "patch", "delete", "list"]'
OLD_GRANTS = {
    "sys/mounts": '["read"]',
    f"sys/mounts/{ROOT_MOUNT}": WRITE,
    f"sys/mounts/{INT_MOUNT}": WRITE,
    "sys/auth": '["read"]',
    "sys/auth/approle": '["create", "update", "sudo"]',
    "sys/policies/acl": '["list"]',
    "sys/policies/acl/mesh-sign-*": WRITE,
    "auth/approle/role": '["list"]',
    "auth/approle/role/mesh-sign-*": WRITE,
    f"{ROOT_MOUNT}/issuers": '["list"]',
    f"{ROOT_MOUNT}/issuer/+": '["read"]',
    f"{ROOT_MOUNT}/{MAKE_ROOT}": '["update"]',
    f"{ROOT_MOUNT}/issuer/+/sign-intermediate": '["update"]',
    f"{INT_MOUNT}/issuers": '["list"]',
    f"{INT_MOUNT}/issuers/import/bundle": '["update"]',
    f"{INT_MOUNT}/issuer/+": WRITE,
    f"{INT_MOUNT}/config/issuers": '["read", "update"]',
    f"{INT_MOUNT}/roles": '["list"]',
    f"{INT_MOUNT}/roles/*": WRITE,
}
"""What the operator's AppRole of the earlier layout could do."""


@pytest.fixture
def new(tmp_path, seed):
    """A new OpenBao that nobody has set up."""
    server = Bao(tmp_path / "openbao", tmp_path / "b.sock", seed)
    server.start()
    yield server.wait()
    server.kill()


def of(server: Bao) -> Embedded:
    return Embedded(server.vault, server.folder, server.folder.parent / "enrol.json")


def test_first_set_up_takes_its_own_rights_away(new):
    token, first = new.operator(), app_role(openbao.init_file(new.folder))
    assert "-legation-init" in of(new).set_up(AUTHORITY, time.time())
    assert not of(new).pending
    assert [] == list(new.folder.glob("init.*"))
    with pytest.raises(Rejected):
        new.vault.login(first)
    with pytest.raises(Denied):
        new.vault.call(token, "post", "sys/policies/acl/mesh-sign-zz", {"policy": ""})
    assert new.vault.login(app_role(new.folder.parent / "enrol.json"))


class Cut(VaultError):
    """The process dies here."""


class Dying(Vault):
    """A Vault whose client dies at its n-th change; what was asked before has happened."""

    def __init__(self, vault: Vault, steps: int) -> None:
        super().__init__(vault.address)
        self.steps = steps

    def call(self, token, method, path, body=None, wrap_ttl=None):
        if method not in {"get", "list"}:
            self.steps -= 1
            if self.steps < 0:
                raise Cut
        return super().call(token, method, path, body, wrap_ttl)


def test_set_up_that_dies_at_any_step_is_completed(new):
    """Each life does two steps; there is one root and one intermediate in the end."""
    lives = 0
    while True:
        lives += 1
        try:
            Embedded(Dying(new.vault, 2), new.folder, new.folder.parent / "enrol.json").set_up(AUTHORITY, time.time())
        except Cut:
            assert lives < 60
        else:
            break
    assert lives > 6
    assert not of(new).pending
    nobody = Token("", 0)
    assert [1, 2] == [len(new.vault.keys(nobody, f"{mount}/issuers")) for mount in (ROOT_MOUNT, INT_MOUNT)]
    assert root_of(new.vault)


def earlier(server: Bao, service: str) -> AppRole:
    """Make what an earlier version would have left: its operator, and a role, a policy and an AppRole of a service."""
    token = server.operator()

    def write(path, body):
        server.vault.call(token, "post", path, body)

    Setup(server.vault, token).run(AUTHORITY, time.time())
    for path in ("mesh-int/roles/service", "mesh-int/roles/component", "auth/approle/role/mesh-enrol"):
        server.vault.call(token, "delete", path)
    for name in POLICIES:
        server.vault.call(token, "delete", f"sys/policies/acl/{name}")
    old = f"mesh-sign-{service}"
    write(f"sys/policies/acl/{old}", {"policy": f'path "{INT_MOUNT}/sign/{service}" {{ capabilities = ["update"] }}'})
    write(f"{INT_MOUNT}/roles/{service}", {"allow_any_name": True})
    write(f"auth/approle/role/{old}", {"token_policies": [old]})
    policy = "\n".join(f'path "{path}" {{ capabilities = {rights} }}' for path, rights in OLD_GRANTS.items())
    write(f"sys/policies/acl/{OLD_OPERATOR}", {"policy": policy})
    write(f"auth/approle/role/{OLD_OPERATOR}", {"token_policies": [OLD_OPERATOR], "token_type": "batch"})
    write(f"auth/approle/role/{OLD_OPERATOR}/role-id", {"role_id": OLD_OPERATOR})
    write(f"auth/approle/role/{OLD_OPERATOR}/custom-secret-id", {"secret_id": "old-secret"})
    for path in ("auth/approle/role/legation-init", "sys/policies/acl/legation-init"):
        server.vault.call(token, "delete", path)
    for file in server.folder.glob("init.*"):
        file.unlink()
    operator = AppRole(OLD_OPERATOR, "old-secret")
    file = openbao.old_operator_file(server.folder)
    file.touch(mode=0o600)
    file.write_text(json.dumps({"role_id": operator.role_id, "secret_id": operator.secret_id}))
    openbao.used_mark(server.folder).touch()
    return operator


def test_state_folder_of_the_earlier_layout_comes_up(tmp_path_factory, seed):
    """With the same root, so nobody notices; and what could make itself administrator is gone."""

    async def main():
        here = Host(tmp_path_factory.mktemp("e"), seed)
        try:
            here.bao.start()
            await asyncio.to_thread(here.bao.wait)
            operator = earlier(here.bao, "orders")
            root = root_of(here.bao.vault)
            with Store(here.folder.certmgr).lock():
                Store(here.folder.certmgr).trust([root])
                Store(here.folder.certmgr).save_credentials("orders", AppRole("mesh-sign-orders", "x"))
            here.bao.kill()
            here.bao.start()
            async with xds_server(here.folder, mesh()):
                here.certmgr.start()
                await here.certmgr.ready()
            assert Store(here.folder.certmgr).roots() == (root,)
            with pytest.raises(Rejected):
                here.bao.vault.login(operator)
            assert [] == [*here.folder.openbao().glob("init.*"), *here.folder.openbao().glob("operator.*")]
            for path in ("auth/approle/role/mesh-sign-orders", "sys/policies/acl/mesh-sign-zz"):
                with pytest.raises(Denied):
                    here.bao.vault.call(here.resident(), "post", path, {"policy": ""})
        finally:
            here.certmgr.kill()
            here.bao.kill()

    asyncio.run(main())
