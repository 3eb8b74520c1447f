"""`python -m certmgr.first`: makes a new Vault or OpenBao into the mesh's CA, once, and gives its root token back.

For who has neither: docker compose's. It initialises the server, unseals it (each time it runs), sets it up by the
plan of `legation certs init`, writes one host's credential with its SecretID wrapped, and revokes the root token.
Whoever dies in between leaves a state that the next run completes: until the end the root token is in the file
with the key that unseals, which nobody else may read.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from certmgr.core.setup import Authority
from certmgr.issue.setup import Setup
from certmgr.issue.vault import Token, Vault, VaultError, pick
from certmgr.settings import vault_at
from certmgr.store import write
from legation.mesh.load import load
from legation.runtime import log as logs
from legation.runtime import mesh_file
from legation.runtime.settings import load as load_settings

log = structlog.get_logger(__name__)

_LIMIT = 60.0
"""Seconds that the server may take to start, or to serve once it is unsealed."""
_LOOK_EVERY = 0.2
_NOBODY = Token("", 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """Makes a new Vault or OpenBao into the mesh's CA, once."""

    vault_address: str = field(metadata={"help": "https URL of the server, or unix:PATH"})
    mesh: Path = field(metadata={"help": "the mesh file"})
    keys: Path = field(metadata={"help": "file that is to hold what unseals the server"})
    host: Path = field(metadata={"help": "file that is to hold the host's credential, wrapped"})
    vault_ca: str = field(default="", metadata={"help": "file with the CA that the server's certificate is checked by"})
    wrap: int = field(default=3600, metadata={"help": "seconds in which the credential has to be used"})


class First:
    """The first set-up of one server. Blocks."""

    def __init__(self, vault: Vault, settings: Settings) -> None:
        """Name the server; nothing is asked yet."""
        self._vault, self._settings, self._pause = vault, settings, threading.Event().wait

    def run(self, authority: Authority, now: float) -> None:
        """Do what is left to do."""
        self._await(lambda: self._vault.health() in {"sealed", "ok"})
        if not pick(self._vault.call(_NOBODY, "get", "sys/seal-status"), "initialized"):
            self._initialize()
        self._unseal()
        self._await(self._leads)
        root = self._kept().get("root_token")
        if root is not None:
            self._set_up(Token(root, 0), authority, now)

    def _initialize(self) -> None:
        shares = {"secret_shares": 1, "secret_threshold": 1}
        made = self._vault.call(_NOBODY, "put", "sys/init", shares)
        self._keep({"key": pick(made, "keys_base64")[0], "root_token": pick(made, "root_token")})
        log.info("initialised")

    def _unseal(self) -> None:
        if not pick(self._vault.call(_NOBODY, "get", "sys/seal-status"), "sealed"):
            return
        key = self._kept().get("key")
        if key is None:
            raise SystemExit(f"{self._vault.address} is sealed, and {self._settings.keys} does not hold its key")
        self._vault.call(_NOBODY, "put", "sys/unseal", {"key": key})
        log.info("unsealed")

    def _set_up(self, root: Token, authority: Authority, now: float) -> None:
        setup = Setup(self._vault, root)
        setup.run(authority, now)
        role_id, wrapped = setup.host_credentials(self._settings.wrap)
        write(self._settings.host, json.dumps({"role_id": role_id, "wrapped_secret_id": wrapped}).encode())
        self._vault.call(root, "post", "auth/token/revoke-self")
        self._keep({"key": self._kept()["key"]})
        log.info("set up, and the root token is revoked", changes=len(setup.changes))

    def _leads(self) -> bool:
        """Say whether the server takes writes: one that is just unsealed stands by until it has elected itself."""
        try:
            said = self._vault.call(_NOBODY, "get", "sys/leader")
        except VaultError:
            return False
        return bool(said.get("is_self")) or not said.get("ha_enabled")

    def _await(self, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + _LIMIT
        while not condition():
            if time.monotonic() > ends:
                raise SystemExit(f"{self._vault.address} is {self._vault.health()} after {_LIMIT:.0f} s")
            self._pause(_LOOK_EVERY)

    def _kept(self) -> dict[str, Any]:
        file = self._settings.keys
        return dict(json.loads(file.read_bytes())) if file.exists() else {}

    def _keep(self, content: dict[str, str]) -> None:
        write(self._settings.keys, json.dumps(content).encode())


def main() -> None:
    """Do it, or say what is in the way."""
    settings = load_settings(Settings, "FIRST", sys.argv[1:], os.environ)
    os.umask(0o077)
    logs.set_up("first")
    mesh = load(mesh_file.read(settings.mesh), str(settings.mesh)).mesh
    vault = Vault(vault_at(settings.vault_address, settings.vault_ca))
    try:
        First(vault, settings).run(Authority(mesh.mesh, mesh.trust_domain), time.time())
    except VaultError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
