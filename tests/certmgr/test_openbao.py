"""The embedded OpenBao's own start: idempotent, private, and with one working door."""

import asyncio
import ssl
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path

import psutil
import pytest

from certmgr import openbao
from certmgr.issue.vault import VaultError
from tests.certmgr.bao import Bao
from tests.support.programs import eventually


def test_second_preparation_keeps_every_secret(tmp_path):
    folder = tmp_path / "openbao"
    argv = openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    openbao.used_mark(folder).touch()
    (folder / "data" / "x").touch()
    assert argv == openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    kept = set(before) - {"config.hcl"}
    assert {n: before[n] for n in kept} == {n: (folder / n).read_bytes() for n in kept}
    assert (folder / "data" / "x").exists()
    assert len((folder / "seal.key").read_bytes()) == 32
    assert [] == [
        path.name for path in folder.rglob("*") if path.stat().st_mode & 0o077 and path.name not in ("x", "used")
    ]


def test_data_that_nobody_has_used_is_thrown_away(tmp_path):
    folder = tmp_path / "openbao"
    openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    (folder / "data" / "half-initialised").touch()
    openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    assert [] == list((folder / "data").iterdir())


def test_configuration_holds_no_secret(tmp_path):
    folder = tmp_path / "openbao"
    openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    text = (folder / "config.hcl").read_bytes()
    secrets = [(folder / name).read_bytes() for name in ("seal.key", "init.secret", "door.key")]
    assert [] == [secret for secret in secrets if secret in text]


def test_odd_folders_are_quoted(tmp_path):
    server = Bao(tmp_path / 'a b"c\\d é${x}' / "openbao", tmp_path / "b.sock")
    server.folder.parent.mkdir()
    try:
        server.start()
        server.wait()
        assert (server.folder / "data" / "vault.db").exists()
    finally:
        server.kill()


def test_server_that_is_set_up_makes_no_new_credential(tmp_path):
    folder = tmp_path / "openbao"
    openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    assert "initialize" in (folder / "config.hcl").read_text()
    openbao.used_mark(folder).touch()
    for path in (openbao.init_file(folder), openbao.init_secret(folder)):
        path.unlink()
    openbao.prepare(folder, tmp_path / "b.sock", "127.0.0.1:1")
    assert "initialize" not in (folder / "config.hcl").read_text()
    assert not openbao.init_file(folder).exists()


def test_no_token_is_root(bao: Bao):
    """Not even that of set-up, which could write itself any policy and is gone in seconds."""
    for path in ("sys/mounts/other", "sys/policies/acl/root", "sys/seal", "auth/token/create", "sys/raw/x"):
        with pytest.raises(VaultError):
            bao.vault.call(bao.operator(), "post", path, {"type": "pki", "policy": ""})


def test_tcp_door_is_shut(bao: Bao):
    """Raft needs the listener; not even its own certificate opens it."""
    assert bao.process is not None
    ports = [c.laddr.port for c in psutil.Process(bao.process.pid).net_connections("tcp") if c.status == "LISTEN"]
    assert len(ports) == 2
    for port in ports:
        context = ssl._create_unverified_context()
        context.load_cert_chain(bao.folder / "door.pem", bao.folder / "door.key")
        connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
        with pytest.raises(OSError):  # noqa: PT011, PT012 - which one, and when, is up to the kernel
            connection.request("GET", "/v1/sys/health")
            connection.getresponse()


def test_socket_is_private(bao: Bao):
    assert bao.socket.stat().st_mode & 0o777 == 0o600


def says(log: Path, words: str) -> bool:
    return words in log.read_text(errors="replace")


def test_openbao_killed_while_it_initialises_starts_anew(tmp_path_factory):
    """Its own half-done initialisation cannot be resumed; nobody has used it yet, so it is thrown away."""

    state = tmp_path_factory.mktemp("s")

    async def cut_off(step: str) -> None:
        bao = Bao(state / step / "openbao", state / step / "b.sock")
        bao.folder.parent.mkdir()
        try:
            bao.start()
            await eventually(step, partial(says, bao.log, step))
            bao.kill()
            bao.start()
            await asyncio.to_thread(bao.wait)
        finally:
            bao.kill()

    async def main():
        steps = ("entering leader state", "security barrier initialized", "root token generated")
        await asyncio.gather(*map(cut_off, steps))

    asyncio.run(main())
