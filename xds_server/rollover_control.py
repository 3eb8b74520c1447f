"""The routes of the control API about a roll-over of the CA."""

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from legation.runtime.control.rollover_messages import RolloverMove, RolloverReport
from legation.runtime.control.server import events, reply
from xds_server.registry.store import StoreFailed
from xds_server.rollovers import Moved, Rollovers, TooManyHosts


class RolloverControl:
    """Answers for one coordinator."""

    def __init__(self, rollovers: Rollovers) -> None:
        """Speak for a coordinator."""
        self._rollovers = rollovers

    async def get(self, _: Request) -> Response:
        """Return where it stands."""
        return reply(self._rollovers.view.value)

    async def watch(self, _: Request) -> Response:
        """Stream where it stands, now and at each change."""
        return events(self._rollovers.view)

    async def move(self, request: Request) -> Response:
        """Move it: 200 with where it is then, 409 when somebody else was faster, 507 when it could not be kept."""
        said = msgspec.json.decode(await request.body(), type=RolloverMove)
        try:
            await self._rollovers.move(said.version, said.rollover)
        except Moved as error:
            raise HTTPException(409, str(error)) from error
        except StoreFailed as error:
            raise HTTPException(507, f"the roll-over could not be stored, so it stays where it is: {error}") from error
        return reply(self._rollovers.view.value)

    async def report(self, request: Request) -> Response:
        """Take what a host says of itself."""
        said = msgspec.json.decode(await request.body(), type=RolloverReport)
        try:
            await self._rollovers.report(said.progress)
        except TooManyHosts as error:
            raise HTTPException(409, str(error)) from error
        except StoreFailed as error:
            raise HTTPException(507, f"what a host says could not be stored: {error}") from error
        return reply(self._rollovers.view.value)

    async def forget(self, request: Request) -> Response:
        """Forget a host that will not come back."""
        host = request.path_params["host"]
        if not await self._rollovers.forget(host):
            known = ", ".join(sorted(self._rollovers.standing.hosts)) or "none"
            raise HTTPException(404, f"no host {host!r} has said anything of a roll-over; known are {known}")
        return reply(self._rollovers.view.value)
