"""The connection below hvac: it is kept, replaced when the server has closed it, and ends with what goes wrong."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import requests

from certmgr.issue import session
from certmgr.issue.session import Session
from certmgr.issue.vault import Address, Token, Unreachable, Vault

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Serve = Callable[[int, socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[tuple[str, list[int]]]:
    """A server that does something with each connection, by its number, and closes it; the list gets the numbers."""
    opened: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def accept() -> None:
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return
                with connection:
                    opened.append(len(opened))
                    serve(opened[-1], connection)

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}", opened
        door.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def asked(connection: socket.socket) -> bytes:
    """One request without a body."""
    content = b""
    while b"\r\n\r\n" not in content:
        more = connection.recv(4096)
        if not more:
            break
        content += more
    return content


def test_one_connection_serves_until_the_server_closes_it(monkeypatch):
    monkeypatch.setattr(session, "_FRESH", 0)

    def twice(_: int, connection: socket.socket) -> None:
        for _ in range(2):
            asked(connection)
            connection.sendall(OK)

    with server(twice) as (url, opened):
        ours = Session(url)
        for _ in range(2):
            assert ours.request("get", f"{url}/v1/x").json() == {}
        assert ours._open.sock.recv(1, socket.MSG_PEEK) == b"", "the server has closed it"
        assert ours.request("get", f"{url}/v1/x").status_code == 200
        ours.close()
    assert opened == [0, 1]


def test_what_was_sent_is_not_sent_again_when_no_answer_comes():
    """A certificate may have been signed: who asks decides."""
    got: list[bytes] = []

    def deaf(_: int, connection: socket.socket) -> None:
        got.append(asked(connection))

    with server(deaf) as (url, _):
        with pytest.raises(requests.ConnectionError) as caught:
            Session(url).request("post", f"{url}/v1/x", headers={"X-Vault-Token": "canary"}, json={"csr": "canary"})
        assert "canary" not in repr(caught.value)
        assert caught.value.request is None
    assert len(got) == 1


@pytest.mark.parametrize(
    "said",
    [b"", b"220 smtp ready\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", OK[:-2] + b"{}" * 40_000],
    ids=["nothing", "another protocol", "cut off", "more than was said"],
)
def test_attack_17_what_is_no_answer_is_unreachable_or_read_as_far_as_it_was_announced(said):
    def odd(_: int, connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(said)

    with server(odd) as (url, _):
        vault = Vault(Address(url=url))
        if said.startswith(OK[:-2]):
            assert vault.call(Token("t", 1), "get", "x") == {}
        else:
            with pytest.raises(Unreachable):
                vault.call(Token("t", 1), "get", "x")


def test_a_server_that_sends_without_end_and_one_that_is_silent_are_left(monkeypatch):
    monkeypatch.setattr(session, "_LONGEST", 1000)
    monkeypatch.setattr(session, "_ANSWER", 0.05)

    def odd(number: int, connection: socket.socket) -> None:
        asked(connection)
        if number == 0:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001)
        else:
            asked(connection)

    with server(odd) as (url, opened):
        ours = Session(url)
        with pytest.raises(requests.ConnectionError):
            ours.request("get", f"{url}/v1/x")
        with pytest.raises(requests.Timeout):
            ours.request("get", f"{url}/v1/x")
        assert opened == [0, 1]


def test_files_that_are_not_there_are_no_connection(tmp_path):
    for there in ({"ca": "ca.pem"}, {"shown": "shown.pem"}):
        with pytest.raises(requests.ConnectionError, match="FileNotFoundError"):
            Session("https://localhost:1", **{key: str(tmp_path / name) for key, name in there.items()}).request(
                "get", "https://localhost:1/v1/x"
            )
    with pytest.raises(requests.ConnectionError, match="FileNotFoundError"):
        Session("http://localhost", path=str(tmp_path / "s")).request("get", "http://localhost/v1/x")


@pytest.mark.parametrize("token", ["a\r\nX-Vault-Token: b", "a\nb", "a\0b"])
def test_a_token_is_one_line_or_is_not_sent(token):
    def wary(_: int, connection: socket.socket) -> None:
        assert asked(connection) == b""

    with server(wary) as (url, _), pytest.raises(requests.ConnectionError, match="ValueError"):
        Session(url).request("get", f"{url}/v1/x", headers={"X-Vault-Token": token})
