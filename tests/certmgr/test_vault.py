"""What can go wrong with a Vault, told apart; and hvac's traps. The server is a fake that answers as it is told."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.vault import (
    Address,
    AppRole,
    Broken,
    Denied,
    Missing,
    Rejected,
    Sealed,
    Throttled,
    Token,
    Unreachable,
    Vault,
    VaultError,
    checked_name,
    checked_path,
    pick,
)

CANARY = Token("canary-token", 600)


@contextmanager
def server(*answers: tuple[int, dict | str], headers: dict | None = None) -> Iterator[tuple[Vault, list]]:
    """A server that gives these answers in turn, the last one for ever; the list gets (path, token) of each request."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("X-Vault-Token")))
            status, body = answers[min(len(seen), len(answers)) - 1]
            self.rfile.read(int(self.headers.get("content-length") or 0))
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            kind = "text/html" if isinstance(body, str) else "application/json"
            for key, value in {"content-type": kind, "content-length": str(len(text)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_LIST = do_GET  # noqa: N815 - http.server's own names

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield Vault(Address(url=f"http://127.0.0.1:{http.server_port}")), seen
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"errors": ["bad"]}, Rejected),
        (403, {"errors": ["permission denied"]}, Denied),
        (404, {"errors": []}, Missing),
        (429, {"errors": ["quota"]}, Throttled),
        (500, {"errors": ["name constraint"]}, Broken),
        (500, {"errors": ["local node not active but active cluster node not found"]}, Sealed),
        (501, {"errors": ["not initialised"]}, Sealed),
        (503, {"errors": ["sealed"]}, Sealed),
        (502, "<html>bad gateway</html>", Broken),
        (200, "<html>login page</html>", Broken),
        (200, "[]", Broken),
        (418, {"errors": ["tea"]}, Broken),
    ],
)
def test_attack_17_answers_are_told_apart(status, body, error):
    with server((status, body)) as (vault, _), pytest.raises(VaultError) as caught:
        vault.call(CANARY, "get", "some/path")
    assert type(caught.value) is error
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.getrepr())


def test_nobody_there_is_unreachable(tmp_path):
    for address in (Address(url="http://127.0.0.1:1"), Address(socket=str(tmp_path / "no.sock"))):
        vault = Vault(address)
        assert vault.health() == "unreachable"
        with pytest.raises(Unreachable, match="does not answer") as caught:
            vault.call(CANARY, "get", "x")
        assert caught.value.__suppress_context__


def test_attack_17_redirect_is_not_followed_with_the_token():
    with server((200, {"data": {}})) as (other, robbed):
        there = {"location": f"{other.address.url}/v1/x"}
        with server((307, ""), headers=there) as (vault, _), pytest.raises(Sealed, match="answered 307"):
            vault.call(CANARY, "get", "x")
        assert robbed == []


def test_token_of_the_environment_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("VAULT_TOKEN", "canary")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("canary")
    with server((200, {"auth": {"client_token": "t", "lease_duration": 10}})) as (vault, seen):
        assert vault.login(AppRole("r", "s")) == Token("t", 10.0)
    assert seen == [("/v1/auth/approle/login", None)]


@pytest.mark.parametrize(
    ("status", "state"), [(200, "ok"), (429, "ok"), (473, "ok"), (472, "sealed"), (501, "sealed"), (503, "sealed")]
)
def test_health(status, state):
    with server((status, {})) as (vault, _):
        assert vault.health() == state


@pytest.mark.parametrize(
    "name", ["../sign-verbatim", "a/b", "*", "a\0b", "", "UPPER", "\u0430", "x" * 300, "-a", "a b"]
)
def test_attack_08_names_that_reach_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match="no role's name"):
        checked_name(name)
    with pytest.raises(ValueError, match="no path"):
        checked_path(f"mesh-int/roles/../{name}")


def test_answers_without_what_is_needed_are_broken():
    with server((200, {"data": None, "auth": {}})) as (vault, _):
        for work in (
            lambda: vault.login(AppRole("r", "s")),
            lambda: vault.unwrap("t"),
            lambda: vault.keys(CANARY, "x"),
        ):
            with pytest.raises(Broken, match="the answer has no"):
                work()
    assert pick({"a": {"b": 1}}, "a", "b") == 1


class Clock:
    def __init__(self):
        self.time = time.time()

    def now(self):
        return self.time


def given(name: str, lease: int = 600):
    return 200, {"auth": {"client_token": name, "lease_duration": lease}}


def test_token_is_kept_for_half_of_its_life():
    clock = Clock()
    with server(given("t1"), given("t2")) as (vault, seen):
        login = Login(lambda: vault.login(AppRole("r", "s")), clock)
        assert [login.call(lambda token: token.value) for _ in range(3)] == ["t1"] * 3
        clock.time += 301
        assert login.call(lambda token: token.value) == "t2"
    assert len(seen) == 2


def test_denied_token_is_replaced_once():
    """Then the denial is the policy's, and said."""
    with server(given("t1"), given("t2"), given("t3")) as (vault, seen):
        login = Login(lambda: vault.login(AppRole("r", "s")), Clock())
        used = []

        def work(token):
            used.append(token.value)
            if len(used) == 2:
                raise Denied("dead")
            return token.value

        assert [login.call(work), login.call(work)] == ["t1", "t2"]
        assert used == ["t1", "t1", "t2"]

        def never(_):
            raise Denied("policy")

        with pytest.raises(Denied):
            login.call(never)
        assert len(seen) == 3


def test_refused_login_is_told_apart():
    with server((400, {"errors": ["invalid role or secret ID"]})) as (vault, _), pytest.raises(LoginRefused):
        Login(lambda: vault.login(AppRole("r", "s")), Clock()).call(lambda token: token)
