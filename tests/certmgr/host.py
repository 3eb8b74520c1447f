"""certmgr as its own process, and a fake of xds_server's control API that hands out a mesh."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certmgr.issue.vault import Token
from certmgr.store import app_role
from legation.runtime.control import server
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import CertmgrStatus, Identity, MeshDocument
from legation.runtime.identity import Identity as Presented
from legation.runtime.identity import follow
from legation.runtime.state import StateFolder
from legation.runtime.tasks import Latest, until
from tests.certmgr.bao import Bao
from tests.support import forks

NAMES = ("orders", "web", "legation-gateway", "legation-xds-server")


def mesh(ttl: str = "10m", services: tuple[str, ...] = ("orders", "web"), dev: str = "true") -> str:
    """A mesh of services that call each other in a row."""
    rows = [f"  {name}: {{protocol: http, port: 80}}" for name in services]
    wish = f"certificates: {{ttl: {ttl}, dev: {dev}}}"
    return "\n".join(["mesh: shop", "trust_domain: shop.local", wish, "services:", *rows])


def document(text: str) -> MeshDocument:
    return MeshDocument(file="mesh.yaml", text=text, version=sha256(text.encode()).hexdigest())


@asynccontextmanager
async def xds_server(folder: StateFolder, text: str) -> AsyncIterator[Latest[MeshDocument]]:
    """xds_server as certmgr sees it: `GET /mesh/watch`."""
    latest = Latest(document(text))

    async def watch(_: Request) -> Response:
        return server.events(latest)

    sock = server.bind_unix(folder.control("xds_server"))
    async with server.serve([sock], [Route("/mesh/watch", watch)]):
        yield latest


class Certmgr:
    """A certmgr process on a state folder; one that is looked at from outside is started `afresh`."""

    def __init__(self, folder: StateFolder, *, afresh: bool = False) -> None:
        self.folder, self.afresh = folder, afresh
        self.log = folder.root / "certmgr.log"
        self.process: subprocess.Popen[bytes] | forks.Forked | None = None

    def start(self, *more: str) -> None:
        argv, env = ["--state", str(self.folder.root), *more], {**os.environ, "VAULT_TOKEN": "canary"}
        if not self.afresh:
            self.process = forks.start("certmgr.__main__:main", argv, self.log, env)
            return
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "certmgr", *argv]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = await asyncio.to_thread(self.process.wait, 10)
        self.process = None
        return code

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ControlClient]:
        client = ControlClient(self.folder.control("certmgr"))
        yield client

    async def status(self) -> CertmgrStatus | None:
        async with self.client() as client:
            try:
                return await client.get("/status", CertmgrStatus)
            except ControlError:
                return None

    async def ready(self, limit: float = 30.0, names: tuple[str, ...] = NAMES) -> CertmgrStatus:
        async def all_valid() -> bool:
            now = await self.status()
            return now is not None and now.ready and {i.name for i in now.identities} == set(names)

        assert await until(all_valid, limit), f"{await self.status()}\n{self.log.read_text()[-3000:]}"
        found = await self.status()
        assert found is not None
        return found

    async def metrics(self) -> str:
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder.control("certmgr")))
        async with httpx.AsyncClient(transport=transport) as http:
            return (await http.get("http://certmgr/metrics")).text

    async def renew(self, name: str) -> Identity:
        async with self.client() as client:
            return await client.send("POST", f"/identities/{name}/renew", None, Identity, limit=40)

    async def presented(self, name: str) -> Presented:
        return await presented(self.folder.sds(name))


async def presented(sock: Path) -> Presented:
    """What an SDS client gets on a socket."""
    latest: Latest[Presented | None] = Latest(None)
    task = asyncio.ensure_future(follow(sock, "test", latest))
    try:
        async with asyncio.timeout(10):
            async for found in latest.watch():
                if found is not None:
                    return found
    finally:
        task.cancel()
    raise AssertionError


class Host:
    """A state folder with an OpenBao and a certmgr on it."""

    def __init__(self, root: Path, seed: Path | None = None) -> None:
        self.folder = StateFolder(root)
        self.folder.make()
        self.bao = Bao(self.folder.openbao(), self.folder.bao_socket(), seed)
        self.certmgr = Certmgr(self.folder)

    def resident(self) -> Token:
        """A token of what certmgr keeps to log in with."""
        found = app_role(self.folder.certmgr / "enrol.json")
        assert found is not None
        return self.bao.vault.login(found)

    def secrets(self) -> list[bytes]:
        """Every secret on disk that is text: secret ids, and the first line of each key."""
        approles = [*(self.folder.certmgr / "approle").glob("*.json"), self.folder.certmgr / "enrol.json"]
        keys = [*(self.folder.certmgr / "identities").glob("*.pem"), self.folder.openbao() / "door.key"]
        ids = [app_role(path).secret_id for path in approles]
        return [text.encode() for text in (*ids, *(path.read_text().splitlines()[1] for path in keys))]


@asynccontextmanager
async def host(root: Path, text: str, seed: Path | None = None) -> AsyncIterator[tuple[Host, Latest[MeshDocument]]]:
    """A host with everything running, not yet ready."""
    this = Host(root, seed)
    try:
        async with xds_server(this.folder, text) as latest:
            this.bao.start()
            this.certmgr.start()
            yield this, latest
    finally:
        this.certmgr.kill()
        this.bao.kill()
