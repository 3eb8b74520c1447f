"""The helper for apps in Python: what belongs to one request goes on with its calls, and with no others."""

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

FILE = Path(__file__).parents[2] / "examples" / "python" / "context.py"


def load():
    spec = importlib.util.spec_from_file_location("example_context", FILE)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


context = load()


def sent(number: int) -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-{number:016x}-01", "x-request-id": str(number), "cookie": "secret=1"}


def expected(number: int) -> dict[str, str]:
    return {name: value for name, value in sent(number).items() if name != "cookie"}


def test_wsgi_requests_carry_their_own_headers_whichever_thread_serves_them() -> None:
    app = context.Wsgi(lambda environ, _: (context.carried(), context.trace_id()))

    def ask(number: int):
        headers = sent(number) if number else {}
        return app({f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()}, None)

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(ask, [1, 2, 0, 3, 0]))
    assert answers[:2] == [(expected(1), f"{1:032x}"), (expected(2), f"{2:032x}")]
    assert answers[2] == answers[4] == ({}, ""), "nothing stays of the request before"


def test_asgi_requests_carry_their_own_headers_side_by_side() -> None:
    async def show(_) -> JSONResponse:
        await asyncio.to_thread(context.trace_id)
        return JSONResponse(context.carried())

    app = context.Asgi(Starlette(routes=[Route("/", show)]))

    async def work() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            answers = await asyncio.gather(*(client.get("/", headers=sent(n)) for n in range(1, 20)))
            assert [answer.json() for answer in answers] == [expected(n) for n in range(1, 20)]
            assert (await client.get("/")).json() == {}

    asyncio.run(work())
    assert context.carried() == {}
