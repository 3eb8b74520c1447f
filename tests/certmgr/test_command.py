"""`legation certs` on a running host: what people see, and the exit codes."""

import asyncio
import json
import subprocess

import pytest

from certmgr.store import Store
from tests.certmgr.host import NAMES, Host, mesh
from tests.support.command import legation


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    this = Host(tmp_path_factory.mktemp("c"))
    Store(this.folder.certmgr).save_mesh(mesh())
    this.bao.start()
    this.certmgr.start()
    asyncio.run(this.certmgr.ready())
    yield this
    this.certmgr.kill()
    this.bao.kill()


def certs(here: Host, *words: str) -> "subprocess.CompletedProcess[str]":
    return legation("certs", *words, "--state", str(here.folder.root))


def serial(here: Host, name: str) -> str:
    done = certs(here, "list", "-o", "json")
    assert done.returncode == 0, done.stdout
    return str(next(i["serial"] for i in json.loads(done.stdout)["identities"] if i["name"] == name))


def test_list_shows_every_certificate_and_when_it_hurts(here):
    done = certs(here, "list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*NAMES, "SDS streams"))
    assert "Vault is ok; without it the first request fails in 9m" in done.stderr
    yaml = certs(here, "list", "-o", "yaml")
    assert "spiffe_id: spiffe://shop.local/orders" in yaml.stdout


def test_show_and_chain_are_public_certificates_down_to_the_root(here):
    shown = certs(here, "show", "orders")
    assert "spiffe://shop.local/orders" in shown.stdout
    assert "CN=Legation DEV root of shop" in shown.stdout
    chain = certs(here, "chain", "orders")
    assert chain.stdout.count("BEGIN CERTIFICATE") == 3
    assert "PRIVATE" not in chain.stdout
    openssl = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=chain.stdout, capture_output=True, text=True, check=True
    )
    assert openssl.stdout.strip().lower() == f"serial={serial(here, 'orders')}"


def test_rotate_one_some_or_all(here):
    before = {name: serial(here, name) for name in ("orders", "web")}
    done = certs(here, "rotate", "orders")
    assert (done.returncode, "orders: now " in done.stderr) == (0, True)
    assert (serial(here, "orders") != before["orders"], serial(here, "web")) == (True, before["web"])
    done = certs(here, "rotate", "--all")
    assert (done.returncode, done.stderr.count(": now ")) == (0, len(NAMES))
    assert serial(here, "web") != before["web"]


def test_revoke_says_what_came_of_it_and_the_ledger_holds(here):
    old = serial(here, "web")
    done = certs(here, "revoke", "web")
    assert done.returncode == 5, "no xds_server runs here, so nobody can deny on open connections"
    assert "may still be served by: all of them, as xds_server does not answer" in done.stderr
    assert f"revoked {old}" in done.stderr
    assert "web goes on with a new certificate" in done.stderr
    shut = certs(here, "revoke", serial(here, "orders"), "--shut-out", "-o", "json")
    assert json.loads(shut.stdout)["renewed"] == []
    listed = certs(here, "list")
    assert (listed.returncode, "it is shut out" in listed.stdout) == (3, True)
    assert certs(here, "rotate", "orders").returncode == 0
    verified = certs(here, "audit", "verify")
    assert (verified.returncode, len(verified.stdout.strip())) == (0, 64)


def test_changed_ledger_is_found(here, tmp_path):
    ledger = here.folder.certmgr / "ledger.jsonl"
    content = ledger.read_text()
    try:
        ledger.write_text(content.replace("orders", "0rders", 1))
        done = certs(here, "audit", "verify")
        assert (done.returncode, "was changed" in done.stderr) == (3, True)
    finally:
        ledger.write_text(content)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("rotate",), 2, "or say --all"),
        (("rotate", "nobody"), 2, "no identity nobody on this host: there are orders, web"),
        (("revoke", "nobody"), 2, "is no service (orders, web"),
        (("revoke", "ab" * 20), 2, "was not issued on this host"),
        (("chain", "nobody"), 2, "no certificate of 'nobody'"),
    ],
    ids=str,
)
def test_wrong_words_are_said_with_what_would_do(here, words, code, said):
    done = certs(here, *words)
    assert (code, True) == (done.returncode, said in done.stderr), done.stderr


def test_host_that_does_not_run_is_said(tmp_path):
    done = legation("certs", "list", "--state", str(tmp_path))
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
