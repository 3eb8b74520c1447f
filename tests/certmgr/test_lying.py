"""A Vault that lies, or somebody before it: a TLS server in front of a real OpenBao changes what that says."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.bundle import render
from certmgr.core.plan import IdentitySpec
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.issuer import Issuer, WrongAnswer
from certmgr.issue.session import Session
from certmgr.issue.vault import Address, AppRole, Broken, Sealed, Throttled, Vault
from legation.runtime.clock import WallClock
from tests.certmgr.authority import Authority
from tests.certmgr.conftest import ORDERS, WEB, Ca

Answer = tuple[int, dict[str, str], bytes]
SIGN = "/v1/mesh-int/sign/service"


class Server:
    """What it says to `SIGN` is what `lie` makes of OpenBao's own answer."""

    def __init__(self, ca: Ca) -> None:
        self.ca, self.asked = ca, 0
        self.lie: Callable[[bytes], Answer] | None = None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        real = Session("http://localhost", path=str(self.ca.bao.socket))
        kept = {name: headers[name] for name in ("X-Vault-Token",) if name in headers}
        if path == SIGN:
            self.asked += 1
            if self.lie is not None:
                return self.lie(body)
        found = real.request(method, f"http://localhost{path}", headers=kept, json=json.loads(body) if body else None)
        return found.status_code, {}, found.content

    def signed(self, body: bytes, name: str = "orders", **other: str) -> dict[str, Any]:
        """OpenBao's own answer to a request that is changed on its way, or that is another's."""
        wish = {**json.loads(body), **other}
        token = self.ca.vault.login(self.ca.given[name])
        return dict(self.ca.vault.call(token, "post", SIGN.removeprefix("/v1/"), wish))


@contextmanager
def before(ca: Ca, folder: Path) -> Iterator[tuple[Server, Issuer]]:
    """The server, and an issuer that knows no other Vault."""
    server, authority = Server(ca), Authority(time.time())
    names = [x509.IPAddress(ip_address("127.0.0.1"))]
    shown = folder / "shown.pem"
    shown.write_bytes(render(authority.issue(IdentitySpec("v", "spiffe://x/v", 600), names=names)))
    (folder / "ca.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, content = server.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "PUT", "LIST"):
        setattr(Handler, f"do_{method}", Handler.do_POST)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    class Known:
        def credentials(self, name: str) -> AppRole | None:
            return ca.given.get(name)

        def roots(self) -> tuple[x509.Certificate, ...]:
            return (ca.root,)

    vault = Vault(Address(url=f"https://127.0.0.1:{http.server_port}", ca=str(folder / "ca.pem")))
    try:
        yield server, Issuer(vault, Known(), WallClock(), lambda: None)
    finally:
        http.shutdown()
        http.server_close()


def said(answer: dict[str, Any], **data: Any) -> Answer:
    return 200, {}, json.dumps({**answer, "data": {**answer["data"], **data}}).encode()


def stranger() -> dict[str, Any]:
    """A leaf of another root, with its chain."""
    made = Authority(time.time()).issue(ORDERS)
    chain = [one.public_bytes(Encoding.PEM).decode() for one in (made.leaf, *made.chain)]
    return {"certificate": chain[0], "ca_chain": chain[1:]}


LIES: dict[str, Callable[[Server, bytes], Answer]] = {
    "another key's": lambda server, body: said(server.signed(body, csr=leaf_request(new_key()))),
    "another's name": lambda server, body: said(server.signed(body, "web", uri_sans=WEB.spiffe_id)),
    "another life": lambda server, body: said(server.signed(body, ttl="20h")),
    "no chain": lambda server, body: said(server.signed(body), ca_chain=[], issuing_ca=""),
    "another root's": lambda server, body: said(server.signed(body), **stranger()),
}


@pytest.mark.parametrize("lie", LIES)
def test_attack_18_certificate_that_was_not_asked_for_is_refused_and_the_next_true_one_taken(ca, tmp_path, lie):
    with before(ca, tmp_path) as (server, issuer):
        server.lie = lambda body: LIES[lie](server, body)
        with pytest.raises(WrongAnswer):
            issuer.issue(ORDERS)
        assert server.asked == 1
        server.lie = None
        assert issuer.issue(ORDERS).leaf.issuer.rfc4514_string() == "CN=Legation DEV intermediate of shop"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((307, {"location": "https://elsewhere.example/v1/x"}, b""), Sealed),
        ((429, {}, b'{"errors": ["quota"]}'), Throttled),
        ((503, {}, b'{"errors": ["Vault is sealed"]}'), Sealed),
        ((500, {}, b'{"errors": ["1 error occurred: refused by policy"]}'), Broken),
        ((200, {"content-type": "text/html"}, b"<html>log in</html>"), Broken),
        ((200, {}, b'{"data": {"certificate": "canary"}}'), WrongAnswer),
    ],
    ids=["a redirect", "too many", "sealed", "a policy", "a page", "no certificate"],
)
def test_attack_17_answer_that_is_no_certificate_is_told_apart_and_asked_for_once(ca, tmp_path, answer, error):
    with before(ca, tmp_path) as (server, issuer):
        server.lie = lambda _: answer
        with pytest.raises(error) as caught:
            issuer.issue(ORDERS)
        assert (server.asked, "canary" in str(caught.value)) == (1, False)
        server.lie = None
        assert issuer.issue(ORDERS).life[1] > time.time()
