"""What the gateway's ports offer, through a stock Envoy: several hosts on one, TLS by server name, redirects."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from legation.mesh import names
from tests.xds_server.compile.fleet import App, Fleet, address, wait_for

SLOT = 140
AT = address(SLOT)
TLS = "tls: {cert: site.crt, key: site.key"
MESH = f"""
mesh: front
trust_domain: front.local
services:
  shop: {{protocol: http, port: 8080, expose: {{port: 18080, address: {AT}, hosts: [shop.test, www.shop.test]}}}}
  api:
    protocol: http
    port: 8080
    expose: {{port: 18080, address: {AT}, hosts: ["*.api.test"]}}
    routes: [{{match: {{prefix: /slow}}, fault: {{abort: {{status: 418}}}}}}]
  alone: {{protocol: http, port: 8080, expose: {{port: 18081, address: {AT}, hosts: [alone.test]}}}}
  pay:
    protocol: http
    port: 8080
    expose: {{port: 18443, address: {AT}, hosts: [pay.shop.example], {TLS}, redirect_port: 18080}}}}
  docs:
    protocol: http
    port: 8080
    expose: {{port: 18443, address: {AT}, hosts: ["*.shop.example"], {TLS}, redirect_port: 18082}}}}
  any: {{protocol: http, port: 8080, expose: {{port: 18444, address: {AT}, {TLS}, redirect_port: 18083}}}}}}
  later: {{protocol: http, port: 8080, expose: {{port: 18443, address: {AT}, hosts: [later.example], {TLS}}}}}}}
"""
APPS = ("shop", "api", "alone", "pay", "docs", "any", "later")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add(names.GATEWAY)
    apps = [App(fleet.add(name).address, name) for name in APPS]
    secrets = fleet.secrets(names.GATEWAY)
    for name, hosts in {
        "pay": ["pay.shop.example"],
        "docs": ["*.shop.example", "pay.shop.example"],
        "any": ["any.test"],
    }.items():
        fleet.authority.site(hosts, secrets, names.edge_secret(name))
    (secrets / f"{names.edge_secret('later')}.json").write_text('{"resources": []}')
    with fleet.running():
        wait_for(lambda: get("shop.test").status_code == 200)
        yield fleet
    for app in apps:
        app.stop()


def get(host: str, port: int = 18080, path: str = "/", **more: str) -> httpx.Response:
    return httpx.get(f"http://{AT}:{port}{path}", headers={"host": host, **more}, timeout=20)


def context(fleet: Fleet, *alpn: str) -> ssl.SSLContext:
    found = ssl.create_default_context(cafile=str(fleet.secrets(names.GATEWAY) / "ca.pem"))
    found.set_alpn_protocols(list(alpn or ("http/1.1",)))
    return found


def ask(fleet: Fleet, name: str, host: str = "", port: int = 18443) -> str:
    """Ask over TLS for a server name and a Host; return the status and the last line of the answer."""
    with closing(socket.create_connection((AT, port), 20)) as plain:
        secure = context(fleet).wrap_socket(plain, server_hostname=name)
        secure.sendall(f"GET / HTTP/1.1\r\nhost: {host or name}\r\nconnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: secure.recv(65536), b"")).decode()
    return f"{text.split(' ')[1]} {text.strip().splitlines()[-1]}"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("shop.test", "200 shop"),
        ("www.shop.test:18080", "200 shop"),
        ("SHOP.TEST", "200 shop"),
        ("a.api.test", "200 api"),
        ("a.b.api.test", "200 api"),
        ("api.test", "404 no service has this host here"),
        ("shop.test.", "404 no service has this host here"),
        ("elsewhere.test", "404 no service has this host here"),
        ("shop.test,a.api.test", "400 one host"),
    ],
)
def test_the_host_says_which_service_is_meant(fleet: Fleet, host: str, said: str) -> None:
    answer = get(host)
    status, text = said.split(" ", 1)
    assert answer.status_code == int(status)
    assert text in answer.text


def test_a_service_alone_on_its_port_has_the_hosts_that_it_names(fleet: Fleet) -> None:
    assert [get(host, 18081).status_code for host in ("alone.test", "shop.test")] == [200, 404]


def test_what_a_route_does_holds_on_a_shared_port_too(fleet: Fleet) -> None:
    assert [get(host, path="/slow").status_code for host in ("a.api.test", "shop.test")] == [418, 200]


def test_the_server_name_chooses_the_certificate_and_the_service(fleet: Fleet) -> None:
    assert ask(fleet, "pay.shop.example") == "200 pay"
    assert ask(fleet, "docs.shop.example") == "200 docs"
    assert ask(fleet, "any.test", port=18444) == "200 any"


def test_a_connection_for_one_host_is_not_for_another(fleet: Fleet) -> None:
    """The certificate of docs bears pay's host too: a browser that reuses the connection is to make another."""
    hosts = ("pay.shop.example", "a.shop.example", "elsewhere.example")
    said = [ask(fleet, "docs.shop.example", host).partition(" (request")[0] for host in hosts]
    away = "421 421: no service has this host here"
    assert said == [away, "200 docs", away]


def test_a_server_name_that_nobody_has_gets_no_connection(fleet: Fleet) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(fleet, "elsewhere.example")


def test_a_certificate_that_is_missing_takes_no_other_away(fleet: Fleet) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(fleet, "later.example")
    assert ask(fleet, "pay.shop.example") == "200 pay"


@pytest.mark.parametrize(
    ("port", "host", "to"),
    [
        (18080, "pay.shop.example", "https://pay.shop.example:18443/a?b=c"),
        (18080, "pay.shop.example:18080", "https://pay.shop.example:18443/a?b=c"),
        (18082, "docs.shop.example", "https://docs.shop.example:18443/a?b=c"),
        (18083, "any.where", "https://any.where:18444/a?b=c"),
    ],
)
def test_plain_requests_are_sent_to_https(fleet: Fleet, port: int, host: str, to: str) -> None:
    answer = get(host, port, "/a?b=c")
    assert (answer.status_code, answer.headers["location"]) == (308, to)


@pytest.mark.parametrize(("offered", "spoken"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_the_client_chooses_between_http_2_and_1(fleet: Fleet, offered: list[str], spoken: str) -> None:
    with closing(socket.create_connection((AT, 18443), 20)) as plain:
        secure = context(fleet, *offered).wrap_socket(plain, server_hostname="pay.shop.example")
        assert (secure.selected_alpn_protocol(), secure.version()) == (spoken, "TLSv1.3")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "ciphers", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES:!AESGCM:!AESCCM", False),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
def test_old_versions_and_weak_ciphers_are_refused(
    fleet: Fleet, version: ssl.TLSVersion, ciphers: str, *, accepted: bool
) -> None:
    offered = context(fleet)
    offered.set_ciphers(ciphers)
    offered.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    offered.maximum_version = version
    with closing(socket.create_connection((AT, 18443), 20)) as plain:
        try:
            offered.wrap_socket(plain, server_hostname="pay.shop.example")
        except (ssl.SSLError, ConnectionError):
            assert not accepted
        else:
            assert accepted
