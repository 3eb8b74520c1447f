"""What a proxy must not pass on: sent raw to the gateway, to an app's own sidecar and to the sidecar of another app."""

import socket
import struct
from contextlib import closing, suppress

import pytest

from legation.mesh import names
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.fleet import App, Fleet, wait_for
from tests.xds_server.compile.strict import CHUNKED, GET, MESH, POST, World, everything, some

REFUSED = {
    "two hosts": (GET + b"Host: b\r\nConnection: close\r\n\r\n", 400),
    "the same host twice": (GET + b"Host: a\r\nConnection: close\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a host with a user": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: a@b\r\n\r\n", 400),
    "an empty host": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: \r\n\r\n", 400),
    "a host with two ports": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: a:80:81\r\n\r\n", 400),
    "a host with a port that is none": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: a:b\r\n\r\n", 400),
    "a host with a parameter": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: a;b\r\n\r\n", 400),
    "a host in disguise": (b"GET /entries/1 HTTP/1.1\r\nConnection: close\r\nHost: a%40b\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a bare CR in a value": (GET + b"X-A: a\rb\r\n\r\n", 400),
    "a header behind a bare CR": (GET + b"X-A: a\rX-B: b\r\n\r\n", 400),
    "a header behind a bare LF": (GET + b"X-A: a\nX-B: b\r\n\r\n", 400),
    "lines that end in LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "an LF behind the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "a bare CR in the request line": (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a folded header": (GET + b"X-A: a\r\n b\r\n\r\n", 400),
    "a header folded by a tab": (GET + b"X-A: a\r\n\tb\r\n\r\n", 400),
    "a folded first header": (b"GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", 400),
    "a blank before a colon": (GET + b"X-A : a\r\n\r\n", 400),
    "a header without a colon": (GET + b"X-A\r\n\r\n", 400),
    "a NUL": (GET + b"X-A: a\0b\r\n\r\n", 400),
    "TRACE": (b"TRACE /entries/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    "a host that Connection names": (GET + b"TE: trailers\r\nConnection: close, host\r\n\r\n", 400),
    "CL.TE": (POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    "TE.CL": (CHUNKED + b"Content-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 400),
    "TE.TE": (CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
    "TE twice in one": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    "TE of nobody": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "TE behind a blank": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "TE behind a tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\na", 400),
    "a length with a plus": (POST + b"Content-Length: +1\r\n\r\na", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\na", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x1\r\n\r\na", 400),
    "a negative chunk": (CHUNKED + b"\r\n-1\r\na\r\n0\r\n\r\n", 400),
    "a hexadecimal prefix of a chunk": (CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n", 400),
    "a chunk that ends in LF": (CHUNKED + b"\r\n1\na\n0\n\n", 400),
    "a bare LF in an extension": (CHUNKED + b"\r\n1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "the second request alone": (GET + b"\r\n" + GET + b"X-A: a\nX-B: b\r\n\r\n", 400),
}


@pytest.fixture(scope="module", params=[lines_module(), ""], ids=["module", "wasm"])
def running(tmp_path_factory, request):
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"), lines_module=request.param)
    nodes = [fleet.add("web"), fleet.add("orders"), fleet.add("desk"), fleet.add(names.GATEWAY)]
    apps = {node.id: App(node.address, node.id) for node in nodes if node.service in ("web", "orders")}
    with fleet.running():
        yield World(fleet, apps)
    for app in apps.values():
        app.stop()


@pytest.fixture
def world(running):
    for app in running.apps.values():
        app.reset()
    return running


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("case", REFUSED)
def test_no_proxy_passes_it_on(world, way, case):
    data, status = REFUSED[case]
    before = data.count(GET + b"\r\n")
    assert world.statuses(way, data, before + 1) == [200] * before + [status]
    asked = [(method, headers) for app in world.apps.values() for method, _, headers in app.seen]
    begun = CHUNKED + b"\r\n" in data  # the head is passed on before the body is seen
    assert len(asked) <= before + begun


@pytest.mark.parametrize("host", ["a", "A.b-c_d.", "a:80", "a:", "192.0.2.1:8080", "[2001:db8::1]", "[::1]:80"])
@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
def test_a_host_is_a_name_or_an_address(world, way, host):
    """With a port or without."""
    request = f"GET /entries/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert world.statuses(way, request.encode()) == [200]


@pytest.mark.parametrize("way", ["gateway", "outbound"])
def test_a_request_with_too_many_headers_is_told_so_and_one_with_as_many_as_may_be_goes_through(
    world, way, monkeypatch
):
    """What proxies add on the way does not count. The app takes more than Python's own 100."""
    monkeypatch.setattr("http.client._MAXHEADERS", 200)

    def status(number: int, size: int) -> list[int]:
        headers = b"".join(b"X-%d: a\r\n" % n for n in range(number - 3)) + b"X-A: %s\r\n" % (b"a" * size)
        return world.statuses(way, GET + headers + b"Connection: close\r\n\r\n")

    assert (status(100, 1), status(101, 1)) == ([200], [431])
    assert (status(3, 61_300), status(3, 61_500)) == ([200], [431])


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
def test_what_is_well_formed_goes_through(world, way):
    """A body may hold whatever looks wrong in a header."""
    chunks = CHUNKED + b"\r\n4\r\n\n \r\n\r\n0\r\n\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    assert world.statuses(way, b"\r\n" + GET + b"\r\n" + chunks + last, 3) == [200] * 3


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize(
    "forged",
    ["x-legation-retry", "x-envoy-max-retries", "x-forwarded-client-cert", "x-legation-",
     "x_legation_retry", "x_envoy_peer", "x_forwarded_client_cert", "x-forwarded_client-cert",
     "x-forwarded-client_cert", "x-envoy_peer", "x-legation_retry", "x_envoy-peer", "x_legation-retry",
     "x_forwarded-client-cert", "x_forwarded-for", "x-forwarded_for", "x_forwarded_proto"],
)  # fmt: skip
def test_headers_that_only_the_mesh_may_set_are_dropped(world, way, forged):
    """In no spelling: CGI and WSGI give an app both under one name. The gateway takes no underscore at all."""
    request = GET + f"{forged.title()}: forged\r\nConnection: close\r\n\r\n".encode()
    assert world.statuses(way, request) == [400 if "_" in forged and way == "gateway" else 200]
    seen = [headers for app in world.apps.values() for *_, headers in app.seen]
    assert [h for headers in seen for h, value in headers.items() if "forged" in value] == []


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("named", ["close, x-forwarded-client-cert", "close, x-forwarded-client-cert, te"])
def test_nobody_takes_away_what_proxies_say_by_naming_it_in_connection(world, way, named):
    """RFC 9110 §7.6.1 has a proxy drop the headers that Connection names."""
    assert world.statuses(way, GET + f"TE: trailers\r\nConnection: {named}\r\n\r\n".encode()) == [200]
    ((_, _, headers),) = [request for app in world.apps.values() for request in app.seen]
    caller = names.GATEWAY.replace("legation-", "legation/") if way == "gateway" else "web"
    assert f"URI=spiffe://strict.local/{caller}" in headers["x-forwarded-client-cert"]


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0", "websocket, h2c"])
def test_no_upgrade_leaves_http_where_no_route_says_so(world, way, protocol):
    upgrade = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    assert world.statuses(way, GET + upgrade.encode())[0] in {200, 400, 403}
    seen = [headers for app in world.apps.values() for *_, headers in app.seen]
    assert [headers for headers in seen if {"upgrade", "http2-settings"} & set(headers)] == []


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("frame", [b"\x81\x8a", b"A\x8a", b"GET\x81", b"GET /entries/2 HTTP/1.1\r\nHost: a"])
def test_nobody_hides_behind_a_websocket_that_is_none(world, way, frame):
    """What looks like one is not watched any more, as no request can begin so; all else is."""
    upgrade = GET + b"Upgrade: websocket\r\n\r\n"  # no such thing without `Connection`, so the connection goes on
    assert world.statuses(way, upgrade + frame + b"\nX-A: b\r\n\r\n") == [200, 400]
    assert [path for app in world.apps.values() for _, path, _ in app.seen if path != "/entries/1"] == []


@pytest.mark.parametrize("way", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("to", ["a:80", "127.0.0.1:22", "orders:8080"])
def test_nobody_tunnels(world, way, to):
    answer = world.statuses(way, f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
    assert [status // 100 for status in answer] == [4]
    assert [app.seen for app in world.apps.values()] == [[], []]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/entries/1", 200), ("/entries/%41", 200), ("/health", 200), ("/%68ealth", 200), ("/health?a=//..%2f", 200),
        ("/secret", 403), ("/entries", 403), ("/entries/../secret", 403), ("/entries/./../secret", 403),
        ("/entries/%2e%2e/secret", 403), ("/entries/%2E./secret", 403), ("/entries\\..\\secret", 403),
        ("/entries/..%2fsecret", 400), ("/entries/..%2Fsecret", 400), ("/entries/..%5csecret", 400),
        ("/entries/..%252fsecret", 403), ("/entries/%252e%252e/secret", 403), ("/entries/..%c0%afsecret", 403),
        ("/entries/..;/secret", 403), ("/entries/..;a=b/secret", 403), ("/entries/1;/../../secret", 403),
        ("/entries/..%3b/secret", 403), ("/entries/%u002e%u002e/secret", 403), ("/entries/.%09./secret", 403),
        ("/entries/%c0%ae%c0%ae/secret", 403), ("/entries/a%C0%AFsecret", 403), ("/entries/a%e0%80%afsecret", 403),
        ("/entries/%f8%80%80%80%ae%F8%80%80%80%ae/secret", 403), ("/entries/a%fc%80%80%80%80%afsecret", 403),
        ("/entries/%f0%9f%8d%b0", 200),
        ("/entries/caf%c3%a9", 200), ("/entries/a%20b", 200), ("/entries/..%7f/secret", 403),
        ("/entries//../../secret", 403), ("//entries/1", 403),
        ("/entries//1", 403), ("/entries/.../secret", 403), ("/entries/..%00/secret", 400),
        ("/ENTRIES/1", 403), ("/Health", 403), ("/health/", 403), ("/health.", 403), ("/health;a", 403),
        ("/health/.", 403), ("/health%20", 403), ("/health#/entries/1", 400),
        ("http://orders/secret", 403), ("http://orders/entries/../secret", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["outbound", "inbound"])
def test_no_spelling_of_a_path_leads_past_allow(world, way, path, status):
    """web may ask for /entries/* and /health; its app, or whoever has its certificate, wants more."""
    assert world.get(way, path) == status
    assert len(world.apps["orders-v1"].seen) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("path", "arrives"),
    [("/a//b", "/a/b"), ("/a/../b", "/b"), ("/a/%2e%2e/b", "/b"), ("/a\\b", "/a/b"), ("/./a", "/a"), ("/A", "/A")],
)
def test_the_gateway_passes_on_one_spelling_of_a_path(world, path, arrives):
    assert world.get("gateway", path) == 200
    assert [path for _, path, _ in world.apps["web-v1"].seen] == [arrives]


@pytest.mark.parametrize(
    ("path", "arrives"),
    [("/entries/./1", "/entries/1"), ("/a/../entries/1", "/entries/1"), ("/entries/%2e%2E/health", "/health"),
     ("/entries\\1", "/entries/1"), ("/a/../../health?a=/../b", "/health?a=/../b")],
)  # fmt: skip
@pytest.mark.parametrize("way", ["outbound", "inbound"])
def test_an_app_sees_one_spelling_of_a_path(world, way, path, arrives):
    assert world.get(way, path) == 200
    assert [path for _, path, _ in world.apps["orders-v1"].seen] == [arrives]


def test_the_gateway_sends_escaped_slashes_to_their_plain_spelling(world):
    """The second try is matched as what it is."""
    assert world.get("gateway", "/a%2fb") == 307
    assert world.apps["web-v1"].seen == []


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = bytes.fromhex("828684" + "4101" + "61")  # GET http / of authority a, by HPACK's static table
SETTINGS, HEADERS, CONTINUATION, RESET, PING, DATA = 4, 1, 9, 3, 6, 0
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, payload: bytes, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def resets(count: int) -> bytes:
    """CVE-2023-44487: requests that are taken back at once."""
    cancel = struct.pack(">I", 8)
    return b"".join(
        frame(HEADERS, REQUEST, END_STREAM | END_HEADERS, 2 * n + 1) + frame(RESET, cancel, 0, 2 * n + 1)
        for n in range(count)
    )


def text(name: str, value: str) -> bytes:
    """A header as it is, without HPACK's tables (RFC 7541 §6.2.2)."""
    return b"\0" + b"".join(bytes([len(part)]) + part.encode("latin-1") for part in (name, value))


def http2(*headers: tuple[str, str], path: str = "/entries/1", method: str = "GET", host: str = "a") -> bytes:
    """A block of headers, after the four that every request has."""
    first = [(":method", method), (":scheme", "http"), (":path", path), (":authority", host)]
    return b"".join(text(*header) for header in (*first, *headers))


ODD = {
    "a line in a value": http2(("x-a", "a\r\nx-b: b")),
    "an LF in a value": http2(("x-a", "a\nb")),
    "a NUL in a value": http2(("x-a", "a\0b")),
    "a line in a name": http2(("x-a: b\r\nx-b", "b")),
    "a name in capitals": http2(("X-A", "b")),
    "a name with a colon": http2(("x:a", "b")),
    "Transfer-Encoding": http2(("transfer-encoding", "chunked")),
    "Connection": http2(("connection", "x-a"), ("x-a", "b")),
    "another request in a path": http2(path="/entries/1 HTTP/1.1\r\nhost: b\r\n\r\nGET /secret"),
    "a blank in a path": http2(path="/entries/1 /secret"),
    "no slash before a path": http2(path="secret"),
    "another request in a method": http2(method="GET /secret HTTP/1.1\r\nx:"),
    "a path twice": http2((":path", "/secret")),
    "an authority twice": http2((":authority", "b")),
    "a header of HTTP/2 behind others": http2(("x-a", "b"), (":path", "/secret")),
    "a host with a user": http2(host="a@b"),
    "two hosts": http2(host="a,b"),
    "a host with a line": http2(host="a\r\nx-b: b"),
    "a length and no body": http2(("content-length", "5"), method="POST"),
    "two lengths": http2(("content-length", "0"), ("content-length", "5"), method="POST"),
    "a negative length": http2(("content-length", "-1"), method="POST"),
    "TRACE": http2(method="TRACE"),
}


def ask_in_http2(connection: socket.socket, headers: bytes) -> None:
    """Send a request; return once the proxy has looked at it: it answers the ping behind it, or has closed."""
    request, ping = frame(HEADERS, headers, END_STREAM | END_HEADERS, 1), b"looked? "
    connection.sendall(PREFACE + frame(SETTINGS, b"") + request + frame(PING, ping))
    got = b""
    while frame(PING, ping, ACK) not in got and (part := some(connection)):
        got += part


@pytest.mark.parametrize("way", ["gateway", "outbound", "peer"])
@pytest.mark.parametrize("case", ODD)
def test_no_proxy_passes_on_odd_http2(world, way, case):
    """It says so by a status, or ends the stream or the connection; no app sees any of it."""
    with closing(world.ways[way]()) as connection:
        ask_in_http2(connection, ODD[case])
    assert [app.seen for app in world.apps.values()] == [[], []]
    assert world.get("gateway", "/entries/1") == 200


@pytest.mark.parametrize("way", ["gateway", "outbound", "peer"])
def test_what_is_well_formed_in_http2_goes_through_without_what_only_the_mesh_may_set(world, way):
    """The one Host that an app sees is the authority; nothing forged is left, which HTTP/2 sends in small letters."""
    forged = [
        (name, "forged") for name in ("host", "x-envoy-max-retries", "x-legation-retry", "x-forwarded-client-cert")
    ]
    disguised = [] if way == "gateway" else [("x_forwarded_client_cert", "forged")]
    with closing(world.ways[way]()) as connection:
        ask_in_http2(connection, http2(*forged, *disguised, ("x-a", "b")))
        wait_for(lambda: any(app.seen for app in world.apps.values()))
    ((_, path, headers),) = [request for app in world.apps.values() for request in app.seen]
    assert (path, headers["host"], headers["x-a"]) == ("/entries/1", "a", "b")
    assert [name for name, value in headers.items() if "forged" in value] == []


def test_what_is_odd_takes_no_other_request_with_it(world):
    """A peer's connection carries what many have asked, at the gateway strangers among them."""
    orders = world.apps["orders-v1"]
    orders.gate.clear()
    odd, both = {3: http2(("X-A", "b")), 5: http2(host="")}, END_STREAM | END_HEADERS
    got, taken_back = b"", [frame(RESET, bytes(4), 0, stream)[:9] for stream in odd]
    with closing(world.ways["peer"]()) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, b"") + frame(HEADERS, http2(), both, 1))
        wait_for(lambda: orders.seen)
        connection.sendall(b"".join(frame(HEADERS, block, both, stream) for stream, block in odd.items()))
        while not all(reset in got for reset in taken_back) and (part := some(connection)):
            got += part
        orders.gate.set()
        while b"orders-v1" not in got and (part := some(connection)):
            got += part
    assert b"orders-v1" in got


FLOODS = {
    "rapid reset": resets(12_000),
    "settings": frame(SETTINGS, b"") * 30_000,
    "pings": frame(PING, b"12345678") * 30_000,
    "continuations": frame(HEADERS, REQUEST, END_STREAM, 1) + frame(CONTINUATION, text("x-a", "b" * 100), 0, 1) * 3000,
    "empty frames": frame(HEADERS, REQUEST, END_HEADERS, 1) + frame(DATA, b"", 0, 1) * 1000,
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("way", ["gateway", "outbound", "peer"])
def test_a_flood_of_http2_frames_ends_its_connection(world, way, flood):
    """Read to its end, which a connection that stays open does not have in time."""
    with closing(world.ways[way]()) as connection:
        with suppress(ConnectionError):
            connection.sendall(PREFACE + frame(SETTINGS, b"") + FLOODS[flood])
        everything(connection)
    assert world.get("inbound" if way == "peer" else way, "/entries/1") == 200
