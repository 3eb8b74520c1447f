"""The connection below hvac: it is kept, replaced when the server has closed it, and ends with what goes wrong."""

import fcntl
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import requests

from certmgr.issue import session
from certmgr.issue.session import Session
from certmgr.issue.vault import Address, Token, Unreachable, Vault

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Serve = Callable[[int, socket.socket], None]


@contextmanager
def server(serve: Serve, path: Path | None = None) -> Iterator[tuple[str, list[int]]]:
    """A server that does something with each connection, by its number, and closes it; the list gets the numbers.

    With a path it is on a unix socket.
    """
    opened: list[int] = []
    with _door(path) as door:

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
        yield "http://localhost" if path else f"http://127.0.0.1:{door.getsockname()[1]}", opened
        door.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _door(path: Path | None) -> socket.socket:
    if path is None:
        return socket.create_server(("127.0.0.1", 0))
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen()
    return door


def asked(connection: socket.socket) -> bytes:
    """One request without a body."""
    content = b""
    while b"\r\n\r\n" not in content:
        more = connection.recv(4096)
        if not more:
            break
        content += more
    return content


def twice(_: int, connection: socket.socket) -> None:
    """Answer two requests on a connection."""
    for _ in range(2):
        asked(connection)
        connection.sendall(OK)


def ended(ours: Session) -> None:
    """Return once the server has closed the connection that is kept."""
    assert ours._open.sock.recv(1, socket.MSG_PEEK) == b""


def test_one_connection_serves_until_the_server_closes_it():
    with server(twice) as (url, opened):
        ours = Session(url)
        for _ in range(2):
            assert ours.request("get", f"{url}/v1/x").json() == {}
        ended(ours)
        assert ours.request("get", f"{url}/v1/x").status_code == 200
        ours.close()
    assert opened == [0, 1]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_server_that_closed_before_it_took_a_request_gets_it_on_a_new_connection(tmp_path, kind, method):
    """As a Vault that was restarted in a blink: at once after an answer, whatever is asked for."""

    def once(_: int, connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(OK)

    with server(once, tmp_path / "s" if kind == "unix" else None) as (url, opened):
        ours = Session(url, path=str(tmp_path / "s") if kind == "unix" else "")
        for _ in range(3):
            assert ours.request(method, f"{url}/v1/x").json() == {}
            ended(ours)
        ours.close()
    assert opened == [0, 1, 2]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(("method", "times"), [("get", 2), ("list", 2), ("post", 1), ("put", 1)])
def test_server_that_closes_after_it_took_a_request_is_asked_again_only_what_may_be_done_twice(
    tmp_path, kind, method, times
):
    """A SecretID that is unwrapped twice is an alarm, and a certificate may have been signed: who asks decides."""
    got: list[bytes] = []

    def then_deaf(number: int, connection: socket.socket) -> None:
        if number == 0:
            asked(connection)
            connection.sendall(OK)
        got.append(asked(connection))
        if number == 1:
            connection.sendall(OK)

    with server(then_deaf, tmp_path / "s" if kind == "unix" else None) as (url, _):
        ours = Session(url, path=str(tmp_path / "s") if kind == "unix" else "")
        ours.request(method, f"{url}/v1/x")
        if times == 2:
            assert ours.request(method, f"{url}/v1/x").json() == {}
        else:
            with pytest.raises(requests.ConnectionError):
                ours.request(method, f"{url}/v1/x")
        ours.close()
    assert len(got) == times


@contextmanager
def more_descriptors(most: int) -> Iterator[None]:
    """Let this process have descriptors up to a number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connection_with_a_high_descriptor_is_looked_at_too():
    """select(2) knows none above 1023, and a host of a thousand identities has more."""

    with server(twice) as (url, opened):
        ours = Session(url)
        ours.request("get", f"{url}/v1/x")
        low = ours._open.sock
        with more_descriptors(1025):
            ours._open.sock = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD, 1024))
        ours._open.sock.settimeout(5)
        low.close()
        assert ours.request("get", f"{url}/v1/x").status_code == 200
        ours.close()
    assert opened == [0]


def test_what_was_sent_is_not_sent_again_when_no_answer_comes():
    """Not on a connection that is new: there is a server, and it says nothing."""
    got: list[bytes] = []

    def deaf(_: int, connection: socket.socket) -> None:
        got.append(asked(connection))

    with server(deaf) as (url, _):
        for method in ("post", "get"):
            with pytest.raises(requests.ConnectionError) as caught:
                Session(url).request(method, f"{url}/v1/x", headers={"X-Vault-Token": "canary"}, json={"csr": "canary"})
            assert "canary" not in repr(caught.value)
            assert caught.value.request is None
    assert len(got) == 2


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
