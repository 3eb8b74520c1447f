"""The Vault of a security team: a server with a TCP listener over TLS, and a root token that they hold.

A real OpenBao; under `make test-vault` a real Vault.
"""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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


def _server() -> str:
    return os.environ.get("LEGATION_TEAM_SERVER") or str(binaries.bao())


IS_VAULT = "LEGATION_TEAM_SERVER" in os.environ
PRODUCT, COMMAND = ("Vault 1.", "vault") if IS_VAULT else ("OpenBao 2.", "bao")


@contextmanager
def team(folder: Path, address: str = "", port: int = 0) -> Iterator[Team]:
    """Their server, from nothing; its state is in memory. At an address where other hosts reach it, or on loopback."""
    port = port or free_port()
    argv = [_server(), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT.value}"]
    argv += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-tls", f"-dev-tls-cert-dir={folder}"]
    if address:
        argv += ["-config", str(_listener(folder, address, port))]
    with (folder / "openbao.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})
    ca = folder / "vault-ca.pem"
    try:
        wait_for("the team's OpenBao makes its certificate", ca.exists, 20)
        there = Team(f"https://{address or '127.0.0.1'}:{port}", folder / "far-ca.pem" if address else ca, folder)
        wait_for("the team's OpenBao serves", lambda: there.vault.health() == "ok", 20)
        yield there
    finally:
        process.kill()
        process.wait()


def _listener(folder: Path, address: str, port: int) -> Path:
    """Write the settings of a listener at an address, and a certificate for it: `-dev-tls` has one for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the team's OpenBao")]), dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1)
    )
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = made.sign(key, hashes.SHA256())
    (folder / "far-ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "far.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files = {"tls_cert_file": str(folder / "far-ca.pem"), "tls_key_file": str(folder / "far.key")}
    listener = {"tcp": {"address": f"{address}:{port}", **files}}
    (folder / "far.json").write_text(json.dumps({"listener": [listener]}))
    return folder / "far.json"
