"""A fake Envoy: an admin socket and listeners, as the bootstrap file says (`envoy -c FILE`), until SIGTERM.

The file is JSON: `admin` (socket), `listeners` (names), `stats` (name: values, one a question, the
last one stays), `certs`, `ports` (listened on with SO_REUSEPORT), `events` (a file that gets what is
asked of it by POST), `exit` (end at once with that code).
"""

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.support.tiny_http import serve


class Envoy:
    def __init__(self, bootstrap: dict[str, Any]) -> None:
        self.bootstrap = bootstrap
        self.ports = [self._listen(port) for port in bootstrap.get("ports", [])]

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), reuse_port=True)

    def answer(self, method: str, target: str, _: bytes) -> tuple[int, bytes]:
        path, _sep, query = target.partition("?")
        if method == "POST":
            with Path(self.bootstrap["events"]).open("a") as events:
                events.write(f"{target}\n")
            if query == "inboundonly":
                while self.ports:
                    self.ports.pop().close()
            return 200, b"OK\n"
        match path:
            case "/ready":
                return (200, b"LIVE\n") if self.bootstrap.get("ready", True) else (503, b"INITIALIZING\n")
            case "/listeners":
                return 200, json.dumps(
                    {"listener_statuses": [{"name": n} for n in self.bootstrap["listeners"]]}
                ).encode()
            case "/stats":
                return 200, self._stats(parse_qs(query)["filter"][0]).encode()
            case "/certs":
                return 200, json.dumps(self.bootstrap.get("certs", {})).encode()
        return 404, b""

    def _stats(self, pattern: str) -> str:
        lines = []
        for name, values in self.bootstrap.get("stats", {}).items():
            if re.search(pattern, name):
                lines.append(f"{name}: {values.pop(0) if len(values) > 1 else values[0]}\n")
        return "".join(lines)


async def main() -> None:
    bootstrap = json.loads(Path(sys.argv[sys.argv.index("-c") + 1]).read_text())
    if code := bootstrap.get("exit"):
        sys.exit(code)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(Path(bootstrap["admin"]), Envoy(bootstrap).answer)
    with contextlib.suppress(asyncio.CancelledError):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
