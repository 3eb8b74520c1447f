"""Carries the headers of the request in hand on to the calls that are made for it, so that one trace stays one.

This is all that an app does for the mesh's traces: Envoy makes the spans. One file, to be copied.

    app = Wsgi(app)                                   # Flask, Django, Bottle: whatever speaks WSGI
    app = Asgi(app)                                   # Starlette, FastAPI, Quart: whatever speaks ASGI
    requests.get(url, headers={**carried(), ...})     # and with each call, by whichever client

Work that is handed to a thread of one's own keeps them with `contextvars.copy_context().run(work)`; asyncio's tasks and
`asyncio.to_thread` do by themselves.
"""

from contextvars import ContextVar

CARRIED = ("traceparent", "tracestate", "baggage", "x-request-id")

_carried: "ContextVar[dict[str, str]]" = ContextVar("carried")


def carried() -> "dict[str, str]":
    """Return the headers to send with every outbound call of this request; none outside of one."""
    return dict(_carried.get({}))


def trace_id() -> str:
    """Return the id of this request's trace, for log lines; nothing where there is none."""
    parts = _carried.get({}).get("traceparent", "").split("-")
    return parts[1] if len(parts) == 4 else ""


class Wsgi:
    """A WSGI application whose requests carry their headers on."""

    def __init__(self, app):
        """Wrap an application."""
        self._app = app

    def __call__(self, environ, start_response):
        """Serve a request."""
        found = {name: environ.get("HTTP_" + name.upper().replace("-", "_")) for name in CARRIED}
        # Not reset at the end: the answer may be made while it is sent. A thread's next request sets it anew.
        _carried.set({name: value for name, value in found.items() if value})
        return self._app(environ, start_response)


class Asgi:
    """An ASGI application whose requests carry their headers on."""

    def __init__(self, app):
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope, receive, send):
        """Serve a request, or a WebSocket."""
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        token = _carried.set({name: found[name] for name in CARRIED if found.get(name)})
        try:
            await self._app(scope, receive, send)
        finally:
            _carried.reset(token)
