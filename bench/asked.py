"""What is asked for every request, as real programs: an external authorizer, and ratelimit with Redis."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import go_tools
import grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.rpc.code_pb2 import OK
from google.rpc.status_pb2 import Status

from bench.program import Broken, running
from legation.mesh.model.mesh import Mesh
from legation.runtime.tasks import until
from xds_server.compile.global_rate_limit import counted

CHECK = "/envoy.service.auth.v3.Authorization/Check"
REDIS_PORT = 16379
_LIMIT = 30.0


class Missing(Exception):
    """What is not there to be run; says what installs it."""


@asynccontextmanager
async def authz(folder: Path, at: str, port: int) -> AsyncIterator[None]:
    """Run an authorizer that lets everybody in: as little as one can do, so that asking is what is measured."""
    async with running([sys.executable, "-m", "bench.asked", f"{at}:{port}"], folder / "authz.log") as program:
        await program.hear("ready", _LIMIT)
        yield


@asynccontextmanager
async def limiter(folder: Path, at: str, port: int, mesh: Mesh) -> AsyncIterator[None]:
    """Run envoyproxy/ratelimit with a Redis of its own, on the limits of a mesh."""
    redis, ratelimit = shutil.which("redis-server"), _ratelimit()
    if redis is None:
        raise Missing("not run: redis-server is missing: apt-get install redis-server")
    config = folder / "limiter" / "config"
    config.mkdir(parents=True)
    (config / "limits.yaml").write_text(json.dumps(counted(mesh)))
    settings = {
        "HOST": at, "PORT": "0", "DEBUG_HOST": at, "DEBUG_PORT": "0", "GRPC_HOST": at, "GRPC_PORT": str(port),
        "RUNTIME_ROOT": str(config.parent), "RUNTIME_SUBDIRECTORY": "", "RUNTIME_WATCH_ROOT": "false",
        "RUNTIME_IGNOREDOTFILES": "true", "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"{at}:{REDIS_PORT}",
        "USE_STATSD": "false", "LOG_LEVEL": "error",
    }  # fmt: skip
    store = [redis, "--bind", at, "--port", str(REDIS_PORT), "--save", ""]
    async with (
        _process(store, folder / "redis.log", {}),
        _listening(at, REDIS_PORT),
        _process([str(ratelimit)], folder / "ratelimit.log", settings),
        _listening(at, port),
    ):
        yield


def _ratelimit() -> Path:
    try:
        return go_tools.build("ratelimit")
    except go_tools.CannotBuild as error:
        raise Missing(f"not run: {error}") from error


@asynccontextmanager
async def _process(argv: Sequence[str], log: Path, settings: Mapping[str, str]) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=output, stderr=output, env={**os.environ, **settings}, cwd=log.parent
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _listening(at: str, port: int) -> AsyncIterator[None]:
    async def takes() -> bool:
        try:
            _, writer = await asyncio.open_connection(at, port)
        except OSError:
            return False
        writer.close()
        return True

    if not await until(takes, limit=_LIMIT):
        raise Broken(f"nobody listens at {at}:{port} within {_LIMIT:.0f} s")
    yield


class _Authz(grpc.GenericRpcHandler):
    """Says yes."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        yes = CheckResponse(status=Status(code=OK)).SerializeToString()

        async def check(_: bytes, __: object) -> bytes:
            return yes

        return grpc.unary_unary_rpc_method_handler(check) if details.method == CHECK else None


async def _serve(address: str) -> None:
    server = grpc.aio.server(handlers=[_Authz()])
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
