"""Certificates of the operator's own for the gateway: read again as they change, and shown to a stock Envoy."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key
from prometheus_client import CollectorRegistry

from certmgr.core.plan import IdentitySpec
from certmgr.metrics import Metrics
from certmgr.sites import Sites
from legation.mesh import names
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.runtime.edge_files import check_files
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.test_envoy import TLS, config, envoy
from tests.certmgr.world import Clock, World, world
from tests.xds_server.compile.authority import Authority

GATEWAY = IdentitySpec(names.GATEWAY, "spiffe://shop.local/legation/gateway", 3600)
MESH = """mesh: shop
trust_domain: shop.local
services:
  shop:
    protocol: http
    port: 8080
    expose:
      port: 8443
      hosts: [shop.test, www.shop.test]
      tls:
        cert: tls/shop.crt
        key: tls/shop.key
"""
CA = Authority("sites")


def site(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """Write tls/shop.crt and tls/shop.key as a program does that renews them: beside, then in their place."""
    made = CA.site(hosts or ("shop.test", "*.shop.test"), folder / "tls" / "new", "shop")
    for path in made:
        path.replace(path.parent.parent / path.name)
    return folder / "tls" / "shop.crt", folder / "tls" / "shop.key"


def violations(folder: Path, text: str = MESH, now: float = 0.0) -> list[str]:
    (folder / "mesh.yaml").write_text(text)
    try:
        check_files(load(text, str(folder / "mesh.yaml")), now)
    except InvalidMesh as invalid:
        return [str(v).removeprefix(f"{folder}/") for v in invalid.violations]
    return []


def damage(what: str, cert: Path, key: Path) -> None:
    match what:
        case "no certificate":
            cert.unlink()
        case "a folder":
            cert.unlink()
            cert.mkdir()
        case "not PEM":
            cert.write_bytes(b"\0 secret of somebody")
        case "no key":
            key.unlink()
        case "large":
            with key.open("ab") as file:
                file.truncate(2 << 20)
        case "no key in PEM":
            key.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0IG9mIHNvbWVib2R5\n-----END PRIVATE KEY-----\n")
        case "a passphrase":
            locked = BestAvailableEncryption(b"hush")
            key.write_bytes(load_key(key.read_bytes(), None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
        case "another key":
            kept = cert.read_bytes()
            site(cert.parent.parent)
            cert.write_bytes(kept)


BAD = {
    "no certificate": "11:15: services.shop.expose.tls.cert: cannot read tls/shop.crt: No such file or directory",
    "a folder": "11:15: services.shop.expose.tls.cert: cannot read tls/shop.crt: it is no file",
    "not PEM": "11:15: services.shop.expose.tls.cert: tls/shop.crt holds no certificate in PEM",
    "no key": "12:14: services.shop.expose.tls.key: cannot read tls/shop.key: No such file or directory",
    "large": "12:14: services.shop.expose.tls.key: cannot read tls/shop.key: File too large",
    "no key in PEM": "12:14: services.shop.expose.tls.key: tls/shop.key holds no private key in PEM",
    "a passphrase": "12:14: services.shop.expose.tls.key: tls/shop.key is locked by a passphrase, "
    "which nobody is here to give",
    "another key": "12:14: services.shop.expose.tls.key: tls/shop.key is not the key of the first certificate "
    "in tls/shop.crt",
}


@pytest.mark.parametrize("what", BAD)
def test_files_that_cannot_be_shown_are_violations_of_the_line_that_names_them(tmp_path: Path, what: str) -> None:
    files = site(tmp_path)
    assert violations(tmp_path) == []
    damage(what, *files)
    assert violations(tmp_path) == [f"mesh.yaml:{BAD[what]}"]


def test_a_host_that_the_certificate_does_not_bear_is_a_violation(tmp_path: Path) -> None:
    site(tmp_path, "shop.test")
    (said,) = violations(tmp_path)
    about = "mesh.yaml:9:26: services.shop.expose.hosts[1]: 'www.shop.test' is not in tls/shop.crt"
    assert said == f"{about}, which is for shop.test: clients would refuse it"


def test_a_certificate_without_names_is_for_no_host(tmp_path: Path) -> None:
    cert, key = site(tmp_path)
    nameless = Authority("nameless")
    cert.write_bytes(nameless.ca.public_bytes(Encoding.PEM))
    key.write_bytes(nameless._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    said = violations(tmp_path)
    assert len(said) == 2
    assert all("is not in tls/shop.crt, which is for no host at all" in text for text in said)


def test_an_expired_certificate_is_told_of_and_stops_nothing(tmp_path: Path) -> None:
    site(tmp_path)
    assert violations(tmp_path) == []
    assert violations(tmp_path, now=time.time() + 7200) == [
        "mesh.yaml:11:15: services.shop.expose.tls.cert: tls/shop.crt has expired: renew it"
    ]


def edge_config(folder: Path, port: int) -> dict:
    """An Envoy that echoes over TLS, with the certificate of one site from the gateway's socket."""
    found = config(folder, port)
    (chain,) = found["static_resources"]["listeners"][0]["filter_chains"]
    typed = chain["transport_socket"]["typed_config"]
    source = typed["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["sds_config"]
    secret = {"name": names.edge_secret("shop"), "sds_config": {**source, "initial_fetch_timeout": "1s"}}
    chain["transport_socket"]["typed_config"] = {
        "@type": TLS,
        "common_tls_context": {"tls_certificate_sds_secret_configs": [secret]},
    }
    return json.loads(json.dumps(found).replace("orders.sock", f"{names.GATEWAY}.sock"))


async def presented(port: int) -> str | None:
    """Return the serial of what the gateway shows to a client that wants shop.test; None where it shows nothing."""
    context = ssl.create_default_context(cadata=CA.ca_pem())
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="shop.test")
    except OSError:
        return None
    with closing(writer):
        return str(writer.get_extra_info("peercert")["serialNumber"])


async def sees(what: Callable[[], Awaitable[bool]]) -> None:
    assert await until(what, 20)


def sites_of(here: World) -> tuple[Sites, Metrics]:
    metrics = Metrics(CollectorRegistry())
    return Sites(here.store, metrics, here.agent.show_sites), metrics


def test_a_gateway_follows_the_files_and_keeps_the_last_good_ones(tmp_path: Path) -> None:
    """Written in place or moved there; a bad pair is said and changes nothing, not even for a certmgr that restarts."""
    state, files = tmp_path / "state", tmp_path / "files"
    port = free_port()

    async def one(here: World, before: str | None, act: Callable[[], object]) -> str:
        seen: list[str] = []

        async def another() -> bool:
            found = await presented(port)
            seen.extend([found] if found not in (None, before) else [])
            return bool(seen)

        act()
        await sees(another)
        assert here.of(names.GATEWAY).error is None
        return seen[0]

    async def follow(here: World) -> str:
        sites, metrics = sites_of(here)
        sites.want(load(MESH, "mesh.yaml").mesh, files)
        task = asyncio.ensure_future(sites.run())
        try:
            first = await one(here, None, lambda: site(files))
            second = await one(here, first, lambda: site(files))
            fresh = CA.site(["shop.test"], files / "other", "shop")
            third = await one(here, second, lambda: overwrite(fresh, files))
            (files / "tls" / "shop.key").write_text("nonsense")

            async def said() -> bool:
                return "tls/shop.key holds no private key" in (here.of(names.GATEWAY).error or "")

            await sees(said)
            assert metrics.registry.get_sample_value("certmgr_edge_certificate_broken", {"service": "shop"}) == 1
            assert await presented(port) == third
        finally:
            task.cancel()
        return third

    async def main() -> None:
        clock = Clock(time.time())
        (state / "orders.sock").parent.mkdir()
        async with world(state, GATEWAY, clock=clock) as here, envoy(state, port, edge_config(state, port)):
            await here.ready()
            third = await follow(here)
        async with world(state, GATEWAY, clock=clock) as again:
            sites, _ = sites_of(again)
            sites.want(load(MESH, "mesh.yaml").mesh, files)
            await again.ready()
            async with envoy(state, port, edge_config(state, port)):

                async def as_before() -> bool:
                    return await presented(port) == third

                await sees(as_before)
        stored = state / "sites" / "shop.json"
        assert stored.stat().st_mode & 0o777 == 0o600

    asyncio.run(main())


def overwrite(fresh: tuple[Path, Path], files: Path) -> None:
    for path in fresh:
        (files / "tls" / path.name).write_bytes(path.read_bytes())


def test_what_leaves_the_mesh_is_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path / "state", GATEWAY) as here:
            sites, metrics = sites_of(here)
            site(tmp_path)
            sites.want(load(MESH, "mesh.yaml").mesh, tmp_path)
            kept = tmp_path / "state" / "sites" / "shop.json"
            assert kept.exists()
            sites.want(load(MESH[: MESH.index("    expose")], "mesh.yaml").mesh, tmp_path)
            assert not kept.exists()
            assert metrics.registry.get_sample_value("certmgr_edge_certificate_broken", {"service": "shop"}) is None

    asyncio.run(main())
