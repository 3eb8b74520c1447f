"""The coordinator of a roll-over, as xds_server has it, in the test's own process: it can cut off whoever asks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.mesh.rollover import Standing
from legation.runtime.control import server
from legation.runtime.control.rollover_messages import RolloverMove, RolloverReport
from legation.runtime.state import StateFolder
from legation.runtime.tasks import Latest
from tests.certmgr.host import document
from xds_server.registry.store import SqliteStore
from xds_server.rollover_control import RolloverControl
from xds_server.rollovers import Rollovers


class Coordinator:
    """xds_server's routes on its own store; `cut(moment, phase)` hears of what comes in, and may end who said it."""

    def __init__(self, database: Path, cut: Callable[[str, str], None]) -> None:
        self.database, self.cut = database, cut
        self.begin()

    def begin(self) -> None:
        """Begin again with what is on the disk, as after a crash of its own."""
        self.rollovers = Rollovers(SqliteStore(self.database), lambda: ("orders-1", "web-1"))
        self.control = RolloverControl(self.rollovers)

    @property
    def standing(self) -> Standing:
        return self.rollovers.standing

    @property
    def phase(self) -> str:
        rollover = self.standing.rollover
        return rollover.phase if rollover is not None else ""

    async def move(self, request: Request) -> Response:
        said = msgspec.json.decode(await request.body(), type=RolloverMove)
        self.cut("before", said.rollover.phase)
        answer = await self.control.move(request)
        self.cut("after", said.rollover.phase)
        return answer

    async def report(self, request: Request) -> Response:
        said = msgspec.json.decode(await request.body(), type=RolloverReport)
        answer = await self.control.report(request)
        self.cut("report", said.progress.phase)
        return answer


@asynccontextmanager
async def coordinator(
    folder: StateFolder, text: str, cut: Callable[[str, str], None] = lambda *_: None
) -> AsyncIterator[Coordinator]:
    """Serve it, with a mesh, on xds_server's socket."""
    mesh = Latest(document(text))
    this = Coordinator(folder.root / "rollover.sqlite", cut)

    async def watch_mesh(_: Request) -> Response:
        return server.events(mesh)

    async def get(request: Request) -> Response:
        return await this.control.get(request)

    async def watch(request: Request) -> Response:
        return await this.control.watch(request)

    async def forget(request: Request) -> Response:
        return await this.control.forget(request)

    routes = [
        Route("/mesh/watch", watch_mesh),
        Route("/rollover/watch", watch),
        Route("/rollover", get),
        Route("/rollover", this.move, methods=["PUT"]),
        Route("/rollover/hosts", this.report, methods=["PUT"]),
        Route("/rollover/hosts/{host}", forget, methods=["DELETE"]),
    ]
    async with server.serve([server.bind_unix(folder.control("xds_server"))], routes):
        yield this
