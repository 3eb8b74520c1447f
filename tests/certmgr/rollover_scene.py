"""A CA of a team that is rolled over: their OpenBao, a certmgr, two proxies that hold streams, and the command."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509

from certmgr.core.trust import anchor
from legation.runtime.identity import Identity as Presented
from legation.runtime.identity import follow
from legation.runtime.state import StateFolder
from legation.runtime.tasks import Latest, until
from tests.certmgr.coordinator import Coordinator, coordinator
from tests.certmgr.host import NAMES, Certmgr, mesh
from tests.certmgr.team import Team, team
from tests.support import forks
from tests.support.command import legation


class Proxies:
    """Two proxies that hold streams, and look at each other."""

    def __init__(self, state: StateFolder) -> None:
        self.state = state
        self.shown: dict[str, Latest[Presented | None]] = {name: Latest(None) for name in ("orders", "web")}
        self.refused: list[str] = []

    async def watch(self) -> None:
        """Be a proxy of each service, for ever: whoever is shown something must be taken by the other one."""
        async with asyncio.TaskGroup() as group:
            for name, latest in self.shown.items():
                group.create_task(follow(self.state.sds(name), f"{name}-1", latest))
                group.create_task(self._compare(latest))

    async def _compare(self, latest: Latest[Presented | None]) -> None:
        async for _ in latest.watch():
            now = [one.value for one in self.shown.values()]
            if None not in now:
                self.refused += [f"{who(a)} by {who(b)}" for a in now for b in now if a and b and not takes(b, a)]

    def roots(self) -> set[bytes]:
        return {one.value.trust_bundle for one in self.shown.values() if one.value is not None}


class Scene(Proxies):
    """A team's OpenBao that is set up, a certmgr, and two proxies that hold streams."""

    def __init__(self, vault: Team, folder: Path) -> None:
        self.vault, self.folder = vault, folder
        super().__init__(StateFolder(folder / "state"))
        self.state.make()
        self.certmgr = Certmgr(self.state)
        self.commands: list[forks.Forked] = []
        self.tokens: list[str] = []
        (folder / "mesh.yaml").write_text(mesh())

    def there(self) -> tuple[str, ...]:
        return ("--vault", self.vault.url, "--vault-ca", str(self.vault.ca))

    def init(self) -> None:
        words = (*self.there(), "--yes", "--host", str(self.folder / "host.json"))
        done = legation("certs", "init", *words, folder=self.folder, env=self.env())
        assert done.returncode == 0, done.stderr

    def env(self) -> dict[str, str]:
        self.tokens.append(self.vault.operator())
        return {"HOME": str(self.folder), "VAULT_TOKEN": self.tokens[-1]}

    def leaks(self) -> list[str]:
        """Every file of the host, and what was said, that holds a token of the operator's."""
        files = [file for file in self.state.root.rglob("*") if file.is_file()]
        told = [file.read_bytes() for file in (*files, self.folder / "command.log") if file.exists()]
        return [token for token in self.tokens if any(token.encode() in content for content in told)]

    def start(self) -> None:
        vault = ("--vault-address", self.vault.url, "--vault-ca", str(self.vault.ca))
        self.certmgr.start(*vault, "--vault-credentials", str(self.folder / "host.json"), "--host", "here")

    def command(self, *words: str) -> forks.Forked:
        """`legation certs rollover …` as a process of its own, that can be killed."""
        argv = ["certs", "rollover", *words, "--state", str(self.state.root), "-f", str(self.folder / "mesh.yaml")]
        process = forks.start("legation.cli.main:main", argv, self.folder / "command.log", os.environ | self.env())
        self.commands.append(process)
        return process

    def said(self) -> str:
        return (self.folder / "command.log").read_text()

    def end(self) -> None:
        for process in self.commands:
            process.kill()
            process.wait()
        self.certmgr.kill()


def takes(one: Presented, other: Presented) -> bool:
    """Whether one takes what another shows, as Envoy does: it ends at a root that is trusted, and, where lists of
    revoked certificates are checked, there is the one of who has signed it.
    """
    chain = x509.load_pem_x509_certificates(other.certificate_chain)
    lists = [x509.load_pem_x509_crl(content) for content in lists_of(one.crl)]
    theirs = [found for found in lists if found.issuer == chain[0].issuer]
    key: Any = chain[1].public_key()
    listed = not lists or any(found.is_signature_valid(key) for found in theirs)
    return listed and anchor(chain[-1], x509.load_pem_x509_certificates(one.trust_bundle)) is not None


def who(one: Presented) -> str:
    """What is shown: whose leaf, and whom its owner takes."""
    leaf = x509.load_pem_x509_certificate(one.certificate_chain)
    roots = [root.subject.rfc4514_string() for root in x509.load_pem_x509_certificates(one.trust_bundle)]
    lists = [x509.load_pem_x509_crl(content).issuer.rfc4514_string() for content in lists_of(one.crl)]
    return f"{one.serial} of {leaf.issuer.rfc4514_string()} (roots {roots}, lists {lists})"


def lists_of(content: bytes) -> list[bytes]:
    end = b"-----END X509 CRL-----\n"
    return [part + end for part in content.split(end)[:-1]]


@contextmanager
def made(folder: Path) -> Iterator[Scene]:
    with team(folder) as vault:
        this = Scene(vault, folder)
        this.init()
        try:
            yield this
        finally:
            this.end()


@asynccontextmanager
async def running(scene: Scene, cut=lambda *_: None):
    async with coordinator(scene.state, mesh(), cut) as there:
        scene.start()
        await scene.certmgr.ready(names=NAMES)
        watching = asyncio.ensure_future(scene.watch())
        try:
            yield there
        finally:
            watching.cancel()


async def reached(there: Coordinator, phase: str, scene: Scene, limit: float = 60) -> None:
    async def is_there() -> bool:
        return there.phase == phase

    said = f"{there.standing}\n{scene.said()}\n{scene.certmgr.log.read_text()[-3000:]}"
    assert await until(is_there, limit), f"{there.standing}\n{said}"


async def ended(process: forks.Forked, scene: Scene) -> int:
    try:
        return await asyncio.to_thread(process.wait, 60)
    except subprocess.TimeoutExpired:
        raise AssertionError(scene.said()) from None
