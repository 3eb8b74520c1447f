"""The Vault of a security team: a real OpenBao with a TCP listener over TLS, and a root token that they hold."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certmgr.core.policies import INIT_POLICY
from certmgr.issue.vault import Address, Token, Vault
from legation.runtime import binaries
from tests.certmgr.bao import free_port
from tests.support.mesh import wait_for

ROOT = Token("root-of-the-team", 0)


class Team:
    """Their server, and the token of an operator with just the rights that the docs name."""

    def __init__(self, url: str, ca: Path, folder: Path) -> None:
        self.url, self.ca, self.folder = url, ca, folder
        self.vault = Vault(Address(url=url, ca=str(ca)))

    def operator(self) -> str:
        self.vault.call(ROOT, "post", "sys/policies/acl/mesh-init", {"policy": INIT_POLICY})
        made = self.vault.call(ROOT, "post", "auth/token/create", {"policies": ["mesh-init"], "ttl": "1h"})
        return str(made["auth"]["client_token"])


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Their server, from nothing; its state is in memory."""
    port = free_port()
    argv = [str(binaries.bao()), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT.value}"]
    argv += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-tls", f"-dev-tls-cert-dir={folder}"]
    with (folder / "openbao.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})
    ca = folder / "vault-ca.pem"
    try:
        wait_for("the team's OpenBao makes its certificate", ca.exists, 20)
        there = Team(f"https://127.0.0.1:{port}", ca, folder)
        wait_for("the team's OpenBao serves", lambda: there.vault.health() == "ok", 20)
        yield there
    finally:
        process.kill()
        process.wait()
