"""certmgr with a thousand identities: how long until all have a certificate, how hard it asks, what it weighs.

And what a revocation takes: from the order to the last of fifty stock Envoys that refuses the thief.
"""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.program import Broken
from bench.report import Figure, Goal
from certmgr.core.bundle import Bundle
from certmgr.core.ledger import read
from certmgr.store import Store
from legation.runtime import binaries
from legation.runtime.control.messages import CertmgrStatus, RevokeReport, RevokeRequest
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.host import Host, mesh
from tests.certmgr.test_envoy import config

IDENTITIES = 1000
RATE = 50
"""certmgr's own: so many a second, and so many at once at the start."""
PROXIES, ROUNDS = 50, 5


async def figures() -> AsyncIterator[Figure]:
    """Yield what a start with a thousand costs, and how fast a thief is refused."""
    with TemporaryDirectory(prefix="legation-bench-") as folder:
        async for figure in _thousand(Path(folder)):
            yield figure
    with TemporaryDirectory(prefix="legation-bench-") as folder:
        yield await _revocation(Path(folder))


def _host(folder: Path, text: str) -> Host:
    host = Host(folder)
    host.certmgr.afresh = True
    with Store(host.folder.certmgr).lock():
        Store(host.folder.certmgr).save_mesh(text)
    return host


async def _thousand(folder: Path) -> AsyncIterator[Figure]:
    host = _host(folder, mesh("1h", tuple(f"s{number}" for number in range(IDENTITIES))))
    try:
        started = time.perf_counter()
        host.bao.start()
        host.certmgr.start()
        await _ready(host, IDENTITIES, 300)
        seconds = time.perf_counter() - started
        with (host.folder.certmgr / "ledger.jsonl").open() as lines:
            times = sorted(record.time for record, _ in read(lines))
        peak = max(sum(at <= other < at + 1 for other in times[n : n + 5 * RATE]) for n, at in enumerate(times))
        note = (
            f"{IDENTITIES} services, each with an AppRole of its own, a new OpenBao's set-up among it; {RATE} a second"
        )
        yield Figure("certs", "start-1000", "s until all have a certificate", [seconds], [], None, note)
        bucket = Goal(
            2 * RATE, f"at most {2 * RATE}: the bucket holds {RATE}, and fills by {RATE} a second", absolute=True
        )
        yield Figure("certs", "start-1000-peak", "certificates in the busiest second", [peak], [], bucket, note)
        assert host.certmgr.process is not None
        rss = psutil.Process(host.certmgr.process.pid).memory_info().rss / 1e6
        yield Figure("certs", "rss-1000", "MB resident of certmgr", [rss], [], None, note)
    finally:
        host.certmgr.kill()
        host.bao.kill()


async def _ready(host: Host, least: int, limit: float) -> CertmgrStatus:
    found: list[CertmgrStatus] = []

    async def is_ready() -> bool:
        status = await host.certmgr.status()
        if status is not None and status.ready and len(status.identities) >= least:
            found.append(status)
        return bool(found)

    if not await until(is_ready, limit, every=0.25):
        raise Broken(f"certmgr is not ready after {limit:.0f} s\n{host.certmgr.log.read_text()[-2000:]}")
    return found[0]


async def _revocation(folder: Path) -> Figure:
    host = _host(folder / "host", mesh())
    samples: list[float] = []
    with ExitStack() as stack:
        stack.callback(host.bao.kill)
        stack.callback(host.certmgr.kill)
        host.bao.start()
        host.certmgr.start()
        await _ready(host, 4, 60)
        ports = [_proxy(stack, folder, host, number) for number in range(PROXIES)]
        for _ in range(ROUNDS):
            samples += await _round(host, ports)
    p99 = sorted(samples)[ceil(0.99 * len(samples)) - 1]
    note = f"{PROXIES} Envoys of one host, {ROUNDS} revocations, new handshakes; the slowest: {max(samples):.3f}"
    goal = Goal(2.0, "p99 at most 2 s", absolute=True)
    return Figure("certs", "revoke-50", "s, p99 from the order to a proxy's refusal", [p99], [], goal, note)


def _proxy(stack: ExitStack, folder: Path, host: Host, number: int) -> int:
    """Start an Envoy that is `orders`; return its port."""
    here, port = folder / f"p{number}", free_port()
    here.mkdir()
    (here / "orders.sock").symlink_to(host.folder.sds("orders"))
    (here / "envoy.json").write_text(json.dumps(config(here, port)))
    argv = [str(binaries.envoy()), "-c", str(here / "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1"]
    with (here / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return port


async def _round(host: Host, ports: list[int]) -> list[float]:
    """Have a copied certificate revoked; return the seconds until each proxy refused it."""
    copied = Store(host.folder.certmgr).bundle("web")
    assert copied is not None
    context = _context(copied, host.folder.root)

    async def all_take_it() -> bool:
        return all(await asyncio.gather(*(_taken(port, context) for port in ports)))

    if not await until(all_take_it, 120, every=0.25):
        raise Broken("not every Envoy takes a good certificate")
    started = time.perf_counter()
    order = asyncio.ensure_future(_revoke(host))
    refused = await asyncio.gather(*(_until_refused(port, context, started) for port in ports))
    await order
    return list(refused)


async def _revoke(host: Host) -> None:
    async with host.certmgr.client() as client:
        wish = RevokeRequest(identity="web", by="bench", wait=5)
        await client.send("POST", "/revoke", wish, RevokeReport, limit=60)


async def _until_refused(port: int, context: ssl.SSLContext, started: float) -> float:
    async def refused() -> bool:
        return not await _taken(port, context)

    if not await until(refused, 30, every=0.02):
        raise Broken(f"the proxy on port {port} still takes a revoked certificate after 30 s")
    return time.perf_counter() - started


def _context(client: Bundle, folder: Path) -> ssl.SSLContext:
    file = folder / "client.pem"
    file.write_bytes(client.key_pem() + client.chain_pem())
    context = ssl.create_default_context(cadata=client.root_pem().decode())
    context.check_hostname = False
    context.load_cert_chain(file)
    return context


async def _taken(port: int, context: ssl.SSLContext) -> bool:
    """Say whether a proxy echoes what whoever holds a certificate says."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"hello")
            echoed = await reader.read(5)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return echoed == b"hello"
