"""The control API over mTLS: which handshakes succeed, as identities and CAs change, and how many of one peer."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from legation.runtime import http
from legation.runtime.control import remote
from legation.runtime.control.contexts import shown, to_xds_server
from legation.runtime.control.remote import peer_of, serve
from legation.runtime.control.server import bind_tcp
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from tests.xds_server.serve.world import Authority

XDS = "spiffe://shop.local/legation/xds-server"
WEB = "spiffe://shop.local/web"


async def whoami(request: Request) -> Response:
    peer = peer_of(request)
    assert peer is not None
    return PlainTextResponse(f"{peer.spiffe_id} {peer.serial}")


@asynccontextmanager
async def serving(identity: Latest[Identity | None]) -> AsyncIterator[int]:
    sock = bind_tcp("127.0.0.1:0")
    async with serve(sock, [Route("/", whoami)], identity):
        yield sock.getsockname()[1]


async def ask(port: int, shown: Identity | None) -> str:
    there = to_xds_server(f"127.0.0.1:{port}", lambda: shown)
    return (await http.request(there, "GET", "/", limit=10)).text


def test_what_a_peer_would_see_of_us_is_read_without_more_than_ssl() -> None:
    authority, other = Authority(), Authority("other")
    given = authority.issue(WEB, 10)
    assert shown(given.certificate_chain, given.private_key, given.trust_bundle) == given
    for chain, key, bundle in (
        (given.certificate_chain, other.issue(WEB, 10).private_key, given.trust_bundle),
        (given.certificate_chain, given.private_key, other.issue(WEB, 10).trust_bundle),
        (b"no PEM", given.private_key, given.trust_bundle),
        (given.certificate_chain, given.private_key, b"no PEM"),
    ):
        with pytest.raises(ValueError, match="our own certificate does not hold"):
            shown(chain, key, bundle)


def test_both_ends_are_proved_and_the_newest_identity_is_used() -> None:
    """The CA may be another one: who has only the old one is refused from then on."""
    old, new = Authority("old"), Authority("new")

    async def scene() -> None:
        identity: Latest[Identity | None] = Latest(old.issue(XDS, 1))
        async with serving(identity) as port:
            assert await ask(port, old.issue(WEB, 10)) == f"{WEB} 0a"
            with pytest.raises(http.HttpError, match="certmgr has given us no certificate yet"):
                await ask(port, None)
            with pytest.raises(http.HttpError):
                await ask(port, new.issue(WEB, 11))
            identity.set(new.issue(XDS, 2))
            assert await ask(port, new.issue(WEB, 11)) == f"{WEB} 0b"
            with pytest.raises(http.HttpError):
                await ask(port, old.issue(WEB, 10))

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        (WEB, WEB, f"is {WEB}, and not {XDS}"),
        (XDS, "spiffe://other.local/web", r"and not spiffe://other\.local/legation/xds-server"),
        (XDS, "https://shop.local/web", "1 URIs, and not the one of its SPIFFE ID"),
    ],
    ids=["a service as the server", "another trust domain", "no SPIFFE ID"],
)
def test_a_server_that_is_somebody_else_is_told_nothing(server: str, client: str, said: str) -> None:
    authority = Authority()

    async def scene() -> None:
        async with serving(Latest(authority.issue(server, 1))) as port:
            with pytest.raises(http.HttpError, match=said):
                await ask(port, authority.issue(client, 2))

    asyncio.run(scene())


def test_a_client_without_a_spiffe_id_and_one_below_tls_1_3_are_refused() -> None:
    authority = Authority()

    async def scene() -> None:
        async with serving(Latest(authority.issue(XDS, 1))) as port:
            good = to_xds_server(f"127.0.0.1:{port}", lambda: authority.issue(WEB, 2))
            nameless = to_xds_server(f"127.0.0.1:{port}", lambda: authority.issue("https://shop.local/", 3))

            def old() -> ssl.SSLContext:
                context = good.context()
                context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
                return context

            for there in (
                http.Secure("127.0.0.1", port, nameless.context, good.check),
                http.Secure("127.0.0.1", port, old, good.check),
            ):
                with pytest.raises(http.HttpError):
                    await http.request(there, "GET", "/", limit=10)
            assert (await http.request(good, "GET", "/", limit=10)).status == 200

    asyncio.run(scene())


def test_one_peer_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECTIONS_EACH", 3)
    authority = Authority()
    greedy, other = authority.issue(WEB, 2), authority.issue("spiffe://shop.local/orders", 3)

    async def scene() -> None:
        async with serving(Latest(authority.issue(XDS, 1))) as port:
            there = to_xds_server(f"127.0.0.1:{port}", lambda: greedy)
            held = [await asyncio.open_connection("127.0.0.1", port, ssl=there.context()) for _ in range(3)]
            with contextlib.suppress(http.HttpError):
                await ask(port, greedy)
                raise AssertionError("a fourth is let in")
            assert await ask(port, other) == "spiffe://shop.local/orders 03"
            for _, writer in held:
                writer.close()

    asyncio.run(scene())
