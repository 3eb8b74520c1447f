"""The first set-up of the embedded OpenBao: with a credential that ends with it.

What may set the CA up may make itself administrator. So that credential is there for the seconds of
the first set-up alone: its last act is to remove itself, and what runs from then on can only enrol.
"""

import json
import secrets
from pathlib import Path

from certmgr import openbao
from certmgr.core import setup as core
from certmgr.core.bundle import Damaged
from certmgr.core.policies import INIT_POLICY
from certmgr.issue.setup import Authority, Setup
from certmgr.issue.vault import AppRole, Rejected, Token, Vault, pick
from certmgr.store import app_role, write


class Embedded:
    """The set-up of one embedded OpenBao. Blocks."""

    def __init__(self, vault: Vault, folder: Path, host_file: Path) -> None:
        """Name the server, its folder, and where the host's own credential is to be kept."""
        self._vault, self._folder, self._host_file = vault, folder, host_file

    @property
    def pending(self) -> bool:
        """Whether there is something to set up: the credential for it is still there."""
        return openbao.init_file(self._folder).exists() or openbao.old_operator_file(self._folder).exists()

    def set_up(self, authority: Authority, now: float) -> list[str]:
        """Do it all, in order: whoever dies in between leaves a state that the next run completes."""
        self._adopt()
        credentials = app_role(openbao.init_file(self._folder))
        if credentials is None:
            raise Damaged(f"{openbao.init_file(self._folder)} is gone: remove {self._folder} to begin with a new CA")
        try:
            token = self._vault.login(credentials)
        except Rejected:
            if not self._host_file.exists():
                raise
            self._forget()  # it died between the last two steps
            return []
        return self._run(Setup(self._vault, token), token, authority, now, credentials.role_id)

    def _run(self, setup: Setup, token: Token, authority: Authority, now: float, name: str) -> list[str]:
        setup.run(authority, now)
        openbao.used_mark(self._folder).touch(mode=0o600)
        role_id, wrapped = setup.host_credentials()
        secret = pick(self._vault.unwrap(wrapped), "secret_id")
        write(self._host_file, json.dumps({"role_id": role_id, "secret_id": secret}).encode())
        for path in (f"auth/approle/role/{name}", f"sys/policies/acl/{name}"):
            self._vault.call(token, "delete", path)
        self._forget()
        return [*setup.changes, f"-{name}"]

    def _forget(self) -> None:
        """Remove what has served its turn from the disk."""
        for path in (openbao.init_file(self._folder), openbao.init_secret(self._folder)):
            path.unlink(missing_ok=True)

    def _adopt(self) -> None:
        """Take a CA of an earlier layout over: its operator makes the credential for the set-up, and is removed by it.

        That it can is the hole which the present layout closes.
        """
        old = openbao.old_operator_file(self._folder)
        operator = app_role(old)
        if operator is None:
            return
        init = openbao.init_file(self._folder)
        if not init.exists():
            known = {"role_id": core.UPGRADE, "secret_id": secrets.token_urlsafe(32)}
            write(init, json.dumps(known).encode())
        made = app_role(init)
        if made is not None:
            self._enter(self._vault.login(operator), made)
        for path in (old, old.with_suffix(".secret")):
            path.unlink(missing_ok=True)

    def _enter(self, token: Token, made: AppRole) -> None:
        """Make the AppRole for the set-up."""
        role = f"auth/approle/role/{core.UPGRADE}"
        rights = {"token_policies": [core.UPGRADE], "token_ttl": 600, "token_no_default_policy": True}
        self._vault.call(token, "post", f"sys/policies/acl/{core.UPGRADE}", {"policy": INIT_POLICY})
        self._vault.call(token, "post", role, {**rights, "token_type": "batch"})
        self._vault.call(token, "post", f"{role}/role-id", {"role_id": made.role_id})
        known = self._vault.keys(token, f"{role}/secret-id")
        if not known:
            self._vault.call(token, "post", f"{role}/custom-secret-id", {"secret_id": made.secret_id})
