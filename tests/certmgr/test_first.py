"""A server of docker compose's from its first start to a CA whose root token nobody has."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from certmgr.core.setup import Authority
from certmgr.first import First, Settings
from certmgr.issue.vault import AppRole, Denied, Rejected, Token, Vault, pick
from certmgr.settings import vault_at
from certmgr.store import write
from legation.runtime import binaries
from tests.certmgr.bao import free_port
from tests.support.mesh import wait_for

AUTHORITY = Authority("shop", "shop.local")
MESH = "mesh: shop\ntrust_domain: shop.local\nservices: {web: {protocol: http, port: 80}}\n"
CONFIG = """
api_addr = "http://127.0.0.1:{api}"
cluster_addr = "http://127.0.0.1:{cluster}"
storage "raft" {{
  path = "{folder}/data"
  node_id = "a"
  performance_multiplier = 1
}}
listener "unix" {{
  address = "{folder}/s"
}}
listener "tcp" {{
  address = "127.0.0.1:{api}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Settings]:
    (tmp_path / "data").mkdir()
    (tmp_path / "mesh.yaml").write_text(MESH)
    config = tmp_path / "config.hcl"
    config.write_text(CONFIG.format(folder=tmp_path, api=free_port(), cluster=free_port()))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([binaries.bao(), "server", f"-config={config}"], stdout=log, stderr=log)
    try:
        yield Settings(f"unix:{tmp_path}/s", tmp_path / "mesh.yaml", tmp_path / "keys.json", tmp_path / "host.json")
    finally:
        process.kill()
        process.wait()


def test_its_root_token_is_revoked_and_a_second_run_changes_nothing(server: Settings) -> None:
    argv = ["--vault-address", server.vault_address, "--mesh", str(server.mesh)]
    argv += ["--keys", str(server.keys), "--host", str(server.host)]
    done = subprocess.run([sys.executable, "-m", "certmgr.first", *argv], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = json.loads(server.keys.read_text())
    assert list(kept) == ["key"]
    assert kept["key"] not in done.stdout + done.stderr
    assert [file.stat().st_mode & 0o777 for file in (server.keys, server.host)] == [0o600, 0o600]
    vault = Vault(vault_at(server.vault_address, ""))
    given = json.loads(server.host.read_text())
    secret = pick(vault.unwrap(given["wrapped_secret_id"]), "secret_id")
    assert vault.login(AppRole(given["role_id"], secret)).lease > 0
    with pytest.raises(Rejected):
        vault.unwrap(given["wrapped_secret_id"])
    before = server.host.read_text()
    First(vault, server).run(AUTHORITY, time.time())
    assert (json.loads(server.keys.read_text()), server.host.read_text()) == (kept, before)


def test_it_goes_on_where_it_died_and_unseals_what_is_sealed(server: Settings) -> None:
    vault = Vault(vault_at(server.vault_address, ""))
    first = First(vault, server)
    wait_for("it answers", lambda: vault.health() == "sealed", 20)
    first._initialize()  # and it dies, before it has unsealed
    root = Token(json.loads(server.keys.read_text())["root_token"], 0)
    First(vault, server).run(AUTHORITY, time.time())
    assert server.host.exists()
    with pytest.raises(Denied):
        vault.call(root, "get", "auth/token/lookup-self")


def test_a_server_whose_key_is_elsewhere_is_not_touched(server: Settings) -> None:
    vault = Vault(vault_at(server.vault_address, ""))
    wait_for("it answers", lambda: vault.health() == "sealed", 20)
    First(vault, server)._initialize()
    write(server.keys, b"{}")
    with pytest.raises(SystemExit, match="does not hold its key"):
        First(vault, server).run(AUTHORITY, time.time())
