"""A real OpenBao on a unix socket."""

import shutil
import subprocess
from pathlib import Path
from socket import socket

from certmgr import openbao
from certmgr.issue.vault import Address, Token, Vault
from certmgr.store import app_role
from tests.support.mesh import wait_for


class Bao:
    """One OpenBao, that can be started, killed and started again on its state.

    `seed` is the folder of one that is initialised (`initialise`): a new one begins as its copy, two seconds sooner.
    """

    def __init__(self, folder: Path, sock: Path, seed: Path | None = None) -> None:
        self.folder, self.socket, self.seed = folder, sock, seed
        self.vault = Vault(Address(socket=str(sock)))
        self.cluster_address = f"127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder.parent / "openbao.log"

    def start(self) -> None:
        if self.seed is not None and not self.folder.exists():
            shutil.copytree(self.seed, self.folder)
        argv = openbao.prepare(self.folder, self.socket, self.cluster_address)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait(self, limit: float = 60.0) -> "Bao":
        """Wait until the operator can log in: that is the end of its own initialisation."""
        try:
            wait_for("OpenBao serves its operator", self._serves, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-2000:]}") from None
        return self

    def _serves(self) -> bool:
        if self.vault.health() != "ok":
            return False
        try:
            return bool(self.operator())
        except Exception:  # noqa: BLE001 - it is just being set up
            return False

    def operator(self) -> Token:
        """A token with the rights of set-up: in a new OpenBao, before certmgr has taken them away."""
        found = app_role(openbao.init_file(self.folder))
        assert found is not None
        return self.vault.login(found)


def initialise(folder: Path) -> Path:
    """Have a new OpenBao initialise itself, and end it: what is left is a seed. Nobody has set it up."""
    server = Bao(folder / "openbao", folder / "b.sock")
    server.start()
    server.wait()
    server.kill()
    openbao.used_mark(server.folder).touch(mode=0o600)
    return server.folder


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
