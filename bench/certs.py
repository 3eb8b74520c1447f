"""Certificates a second: certmgr's issue, ledger and bundle file, against the same Vault API called bare by hvac."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, local
from typing import NamedTuple

import hvac
import requests

from bench.program import Broken
from bench.report import Figure, Goal
from bench.unix_http import SCHEME, UnixAdapter
from certmgr import openbao
from certmgr.core.bundle import Bundle
from certmgr.core.layout import INT_MOUNT, SERVICE
from certmgr.core.plan import IdentitySpec
from certmgr.embedded import Embedded
from certmgr.issue.auth import Method, enter
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.issuer import Issuer
from certmgr.issue.setup import Authority, Enroller, root_of
from certmgr.issue.vault import Address, AppRole, Vault, VaultError
from certmgr.ledger import Ledger
from certmgr.store import Store
from legation.runtime.clock import WallClock

ROUNDS = 7
"""Turns of each side; each is one sample."""
PER_ROUND = 64
"""Certificates of one turn."""
THREADS = 16
_GOAL = Goal(1 / 0.9, "at most 1.11 x the time, which is 0.9 x the certificates a second")


async def figures() -> AsyncIterator[Figure]:
    """Yield the time for one certificate, one after the other and from sixteen threads."""
    with TemporaryDirectory(prefix="legation-bench-") as folder, _ca(Path(folder)) as world:
        for case, threads in (("issue-serial", 1), ("issue-16", THREADS)):
            with ThreadPoolExecutor(threads) as pool:
                ours, peer = [], []
                for turn in range(ROUNDS + 1):
                    samples = _timed(pool, world.ours, world.settled), _timed(pool, world.bare)
                    if turn:  # the first one logs in and connects
                        ours.append(samples[0])
                        peer.append(samples[1])
            note = (
                f"OpenBao {world.vault.version()}, EC P-256; ours verifies, writes the ledger, fsynced, and the "
                f"bundle; of the processor, OpenBao's share aside: ours {_processor(ours)} ms, peer {_processor(peer)}"
            )
            yield Figure("certs", case, "ms a certificate", [s.ms for s in ours], [s.ms for s in peer], _GOAL, note)


class _Sample(NamedTuple):
    """Milliseconds for one certificate, and how many of them this process had the processor, in all of its threads."""

    ms: float
    processor: float


def _processor(samples: list[_Sample]) -> str:
    return f"{median(sample.processor for sample in samples):.2f}"


def _timed(pool: ThreadPoolExecutor, issue: Callable[[int], None], end: Callable[[], None] = lambda: None) -> _Sample:
    started, ran = time.perf_counter(), time.process_time()
    for _ in pool.map(issue, range(PER_ROUND)):
        pass
    end()
    each = 1000 / PER_ROUND
    return _Sample((time.perf_counter() - started) * each, (time.process_time() - ran) * each)


@dataclass(slots=True)
class _World:
    """One OpenBao, set up; both ways to have a certificate out of it."""

    vault: Vault
    store: Store
    issuer: Issuer
    ledger: Ledger
    disk: ThreadPoolExecutor
    credentials: AppRole
    socket: Path
    clients: local

    def ours(self, number: int) -> None:
        """Issue as certmgr's agent does: the next one is asked for while this one's line gets to the disk."""
        name = f"s{number}"
        spec = IdentitySpec(name, f"spiffe://bench.local/{name}", 3600)
        bundle = self.issuer.issue(spec)
        self.disk.submit(self._keep, name, bundle, self.ledger.lines).add_done_callback(Future.result)

    def _keep(self, name: str, bundle: Bundle, lines: int) -> None:
        self.ledger.settle(lines)
        self.store.save_bundle(name, bundle)

    def settled(self) -> None:
        """Return when all that was issued is kept."""
        self.disk.submit(lambda: None).result()

    def bare(self, _: int) -> None:
        """Make a key and have it signed, as a script with hvac would."""
        client = getattr(self.clients, "client", None)
        if client is None:
            client = self.clients.client = self._client()
        role = SERVICE.role
        wish = {"uri_sans": "spiffe://bench.local/s0", "ttl": "3600s", "format": "pem"}
        client.secrets.pki.sign_certificate(role, leaf_request(new_key()), "", extra_params=wish, mount_point=INT_MOUNT)

    def _client(self) -> hvac.Client:
        session = requests.Session()
        session.trust_env = False
        session.mount(SCHEME, UnixAdapter(str(self.socket)))
        token = self.vault.login(self.credentials).value
        return hvac.Client(url=f"{SCHEME}localhost", token=token, session=session)


@contextmanager
def _ca(folder: Path) -> Iterator[_World]:
    """Run an OpenBao as `legation up` does, set up for as many services as a turn issues."""
    socket, bao = folder / "bao.sock", folder / "openbao"
    os.umask(0o077)
    argv = openbao.prepare(bao, socket, "127.0.0.1:18299")
    vault, store = Vault(Address(socket=str(socket))), Store(folder / "certmgr")
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            with store.lock():
                yield _set_up(vault, store, bao, socket)
        finally:
            process.kill()
            print("bench: OpenBao ended", file=sys.stderr)


def _set_up(vault: Vault, store: Store, bao: Path, socket: Path) -> _World:
    embedded, deadline = Embedded(vault, bao, store.host_file), time.monotonic() + 30
    while embedded.pending:
        try:
            embedded.set_up(Authority("bench", "bench.local", dev=True), time.time())
        except VaultError as error:
            if time.monotonic() > deadline:
                raise Broken(f"OpenBao is not set up: {error}") from error
            Event().wait(0.1)
    store.trust([root_of(vault)])
    enroller = Enroller(vault, enter(vault, Method("approle", store.host_file, "approle"), store.host_file)())
    for number in range(PER_ROUND):
        store.save_credentials(f"s{number}", enroller.deliver(f"s{number}"))
    ledger = Ledger(store.folder / "ledger.jsonl")
    issuer = Issuer(vault, store, WallClock(), lambda: None, ledger.append)
    credentials = store.credentials("s0")
    if credentials is None:
        raise Broken("no credentials were delivered")
    return _World(vault, store, issuer, ledger, ThreadPoolExecutor(1), credentials, socket, local())
