"""A service in Python beside the shop's: `GET /` picks a gift from the catalog. Nothing but the standard library."""

import json
import os
import random
import signal
import sys
import threading
import urllib.request
from datetime import datetime, timezone
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from context import Wsgi, carried, trace_id

CATALOG = os.environ.get("CATALOG_URL", "http://127.0.0.1:8081")


def gift(environ, start_response):
    """Answer a request."""
    if environ["PATH_INFO"] == "/healthz":
        start_response("200 OK", [])
        return []
    request = urllib.request.Request(CATALOG + "/items", headers=carried())  # noqa: S310 - CATALOG_URL is http
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        found = json.load(answer)
    chosen = random.choice(found["items"])  # noqa: S311
    log("gift chosen", item=chosen["id"])
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({"gift": chosen}).encode()]


def log(text, **more):
    """Write a line that bears the request's trace: `legation logs --trace ID` finds it."""
    line = {"time": datetime.now(timezone.utc).isoformat(), "msg": text, "trace_id": trace_id(), **more}  # noqa: UP017
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Quiet(WSGIRequestHandler):
    """Envoy logs requests."""

    def log_message(self, *_):
        """Write nothing."""


class Threads(ThreadingMixIn, WSGIServer):
    """A request a thread."""


def main():
    """Serve until SIGTERM; what is in flight is finished."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8083"))
    server = make_server(host, port, Wsgi(gift), Threads, Quiet)
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.1)
    server.server_close()


if __name__ == "__main__":
    main()
