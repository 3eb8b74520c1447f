"""The host's control API: how the command asks a running mesh about itself, and ends it."""

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from legation.host.host import Host
from legation.host.scale import workloads
from legation.host.status import collect
from legation.runtime.control.messages import MeshDocument, Replacement, ScaleList, ScaleRequest
from legation.runtime.control.server import reply


def routes(host: Host) -> list[BaseRoute]:
    """Return all routes for a running host."""

    async def status(_: Request) -> Response:
        return reply(await collect(host))

    async def mesh(_: Request) -> Response:
        return reply(MeshDocument(file=host.host.file, text=host.text, version=host.desired.value.version))

    async def replace(request: Request) -> Response:
        return reply(Replacement(wait=host.replace(request.path_params["id"])))

    async def scales(_: Request) -> Response:
        return reply(ScaleList(workloads=workloads(host)))

    async def scale(request: Request) -> Response:
        desired = msgspec.json.decode(await request.body(), type=ScaleRequest)
        service, version = request.path_params["service"], request.path_params["version"]
        if not host.scale(service, version, desired.replicas, desired.reason):
            raise HTTPException(404, f"{service} {version} does not follow the load: it has no autoscale in mesh.yaml")
        return reply(next(w for w in workloads(host) if (w.service, w.version) == (service, version)))

    async def down(_: Request) -> Response:
        host.stopping.set()
        return Response(status_code=202)

    return [
        Route("/status", status),
        Route("/mesh", mesh),
        Route("/instances/{id}/replace", replace, methods=["POST"]),
        Route("/scale", scales),
        Route("/scale/{service}/{version}", scale, methods=["PUT"]),
        Route("/down", down, methods=["POST"]),
    ]
