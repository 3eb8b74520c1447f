"""The embedded OpenBao: how its server is started, so that it sets itself up, unseals itself and serves us alone.

It initialises itself from its own configuration (OpenBao's declarative self-initialisation), so
no root token and no recovery key ever leave it: what it makes is one AppRole for the set-up of the
CA, which certmgr does at once (certmgr/embedded.py) and which removes that AppRole. Its secret is
made here, before the server's first start, so no crash on either side can lose it.

Raft insists on a TCP listener for its cluster address, and every TCP listener of OpenBao offers
the API too. That door stays shut: it asks for a client certificate of an authority that is
allowed to sign none. The API that works is on the unix socket, mode 0600.
"""

import json
import os
import secrets
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certmgr.core.policies import INIT_POLICY
from legation.runtime import binaries, host_port

INIT = "legation-init"
"""Name of the AppRole (and its policy) of the first set-up, which removes it."""

_CONFIG = """\
ui = false
log_level = "info"
api_addr = "https://{cluster_host}"
cluster_addr = "https://{cluster_address}"

storage "raft" {{
  path = {data}
  node_id = "host"
  # alone in its cluster: no need to wait long for other candidates
  performance_multiplier = 1
}}

seal "static" {{
  current_key_id = "1"
  current_key = {seal_key}
}}

listener "unix" {{
  address = {socket}
  # it takes the three together or none
  socket_mode = "0600"
  socket_user = "{user}"
  socket_group = "{group}"
}}

# raft's cluster address needs a TCP listener; nobody holds a client certificate that this one takes
listener "tcp" {{
  address = "{cluster_host}:0"
  cluster_address = "{cluster_address}"
  tls_cert_file = {door_certificate}
  tls_key_file = {door_key}
  tls_client_ca_file = {door_certificate}
  tls_require_and_verify_client_cert = true
}}
"""


_INITIALIZE = """\

initialize "set-up" {{
  request "policy" {{
    operation = "update"
    path = "sys/policies/acl/{init}"
    data = {{ policy = {policy} }}
  }}
  request "approle" {{
    operation = "update"
    path = "sys/auth/approle"
    data = {{ type = "approle" }}
  }}
  request "role" {{
    operation = "update"
    path = "auth/approle/role/{init}"
    data = {{
      token_policies = ["{init}"]
      token_ttl = "10m"
      token_type = "batch"
      token_no_default_policy = true
    }}
  }}
  request "role-id" {{
    operation = "update"
    path = "auth/approle/role/{init}/role-id"
    data = {{ role_id = "{init}" }}
  }}
  request "secret-id" {{
    operation = "update"
    path = "auth/approle/role/{init}/custom-secret-id"
    data = {{
      secret_id = {{
        eval_type = "string"
        eval_source = "file"
        path = {secret_file}
      }}
    }}
  }}
}}
"""
"""What a new server does to itself: it makes the one credential that certmgr sets the CA up with."""


def init_file(folder: Path) -> Path:
    """Return the file with the AppRole of the first set-up (`role_id`, `secret_id`); gone when that is done."""
    return folder / "init.json"


def init_secret(folder: Path) -> Path:
    """Return the file that a new server reads that AppRole's secret id from."""
    return folder / "init.secret"


def old_operator_file(folder: Path) -> Path:
    """Return the file with the AppRole that an earlier version kept for all time."""
    return folder / "operator.json"


def used_mark(folder: Path) -> Path:
    """Return the file that certmgr makes once the CA is set up: from then on the data is worth keeping."""
    return folder / "used"


def prepare(folder: Path, socket: Path, cluster_address: str) -> list[str]:
    """Write what the server needs below `folder` and return the command that starts it. Call it before every start.

    `cluster_address` is a loopback `host:port` of its own. Keys and secrets are made once, mode
    0600. A server that was killed while it initialised itself cannot go on, so data that nobody
    has used yet is thrown away.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _once(folder / "seal.key", secrets.token_bytes(32))
    if not used_mark(folder).exists():
        _begin(folder)
    _door(folder)
    _write(folder / "config.hcl", config(folder, socket, cluster_address).encode())
    return [str(binaries.bao()), "server", f"-config={folder / 'config.hcl'}"]


def _begin(folder: Path) -> None:
    """Make an empty data folder, and the credential that the new server is to be set up with."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "data").mkdir(mode=0o700)
    for path in (old_operator_file(folder), folder / "operator.secret"):
        path.unlink(missing_ok=True)
    _once(init_secret(folder), secrets.token_urlsafe(32).encode())
    credentials = {"role_id": INIT, "secret_id": init_secret(folder).read_text()}
    _write(init_file(folder), json.dumps(credentials).encode())


def config(folder: Path, socket: Path, cluster_address: str) -> str:
    """Return the server's configuration; it names files that hold secrets, and holds none."""
    text = _CONFIG if used_mark(folder).exists() else _CONFIG + _INITIALIZE
    return text.format(
        cluster_address=cluster_address,
        cluster_host=host_port.split(cluster_address)[0],
        data=_quoted(str(folder / "data")),
        seal_key=_quoted(f"file://{folder / 'seal.key'}"),
        socket=_quoted(str(socket)),
        user=os.getuid(),
        group=os.getgid(),
        door_certificate=_quoted(str(folder / "door.pem")),
        door_key=_quoted(str(folder / "door.key")),
        init=INIT,
        policy=_quoted(INIT_POLICY),
        secret_file=_quoted(str(init_secret(folder))),
    )


def main(argv: list[str]) -> NoReturn:
    """`python -m certmgr.openbao FOLDER SOCKET CLUSTER_ADDRESS`: prepare the server, then become it."""
    os.umask(0o077)
    command = prepare(Path(argv[0]), Path(argv[1]), argv[2])
    os.execv(command[0], command)  # noqa: S606 - the server from its wheel


def _quoted(text: str) -> str:
    """Return a string literal of HCL 1: as JSON's, but for the letters that it does not escape."""
    return json.dumps(text, ensure_ascii=False)


def _door(folder: Path) -> None:
    """Make the certificate of the shut TCP listener, once: for servers alone, so no client can ever show it."""
    if (folder / "door.pem").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "door.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _write(folder / "door.pem", certificate.public_bytes(Encoding.PEM))


def _once(path: Path, content: bytes) -> None:
    """Write a file unless it is there."""
    if not path.exists():
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """Write a file for this user alone, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
