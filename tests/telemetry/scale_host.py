"""A stand-in for `legation up` as autoscaling sees it: one workload, whose app uses half a core."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.runtime.control.messages import ScaleList, WorkloadInstance, WorkloadScale
from legation.runtime.control.server import bind_unix, reply, serve

CORES = 0.5


@asynccontextmanager
async def scale_host(socket: Path, service: str, instance: str) -> AsyncIterator[None]:
    """Answer while the block runs; what it is asked for it does not do."""

    def workload() -> WorkloadScale:
        there = WorkloadInstance(id=instance, ready=True, cpu_seconds=time.monotonic() * CORES)
        return WorkloadScale(service=service, version="v1", desired=1, instances=(there,))

    async def scales(_: Request) -> Response:
        return reply(ScaleList(workloads=(workload(),)))

    async def scale(_: Request) -> Response:
        return reply(workload())

    routes = [Route("/scale", scales), Route("/scale/{service}/{version}", scale, methods=["PUT"])]
    async with serve([bind_unix(socket)], routes):
        yield
