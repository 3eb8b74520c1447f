"""One connection to one Vault, in the place of the `requests.Session` that hvac would speak through.

For each call requests merges settings, cookies, proxies and hooks, and looks where a redirect leads: more work than all
the rest of an issue (docs/bench.md), and none of it is wanted. This one speaks HTTP/1.1 (http.client) to the
server that it was made for, over TLS or a unix socket; it follows nobody and reads nothing from the environment.
"""

import http.client
import json as encoder
import select
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import requests
from requests.structures import CaseInsensitiveDict

_CONNECT, _ANSWER = 2.0, 8.0
"""Seconds to connect, and to wait for more of an answer."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "LIST", "DELETE"})
"""What may be asked twice (RFC 9110 §9.2.2; to Vault a PUT is a POST)."""
_LONGEST = 64 << 20
"""Bytes of an answer that are read: a list of revoked certificates is the longest (Vault holds a million)."""


_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a connection says that the other end has closed."""


class _Unsent(ConnectionError):
    """The server had closed before it had the whole request, so it has done nothing."""


class _Unanswered(ConnectionError):
    """The server has closed and said nothing: nobody knows whether it has done what was asked."""


class Session:
    """What hvac calls of a session. One thread's alone; errors are those of requests, and hold nothing of a request."""

    cert = verify = proxies = None
    """hvac hands these back with each call: they are decided here."""

    def __init__(self, url: str, *, path: str = "", ca: str = "", shown: str = "") -> None:
        """Name the server by its URL, or by its unix socket's path; nothing is opened yet.

        `ca` is the file that its certificate is checked against, `shown` one with a certificate and key of ours.
        """
        self._url, self._path, self._ca, self._shown = urlsplit(url), path, ca, shown
        self._open: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> requests.Response:
        """Return the answer, whatever its status; raises RequestException when there is none."""
        target = urlsplit(url).path + (f"?{urlencode(params)}" if params else "")
        sent = dict(headers or {})
        body = None
        if json is not None:
            body = encoder.dumps(json).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            return self._ask(method.upper(), target, body, sent)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            self.close()
            raise requests.exceptions.ConnectionError(type(error).__name__) from None
        except ssl.SSLError:
            self.close()
            raise requests.exceptions.SSLError("TLS") from None
        except TimeoutError:
            self.close()
            raise requests.exceptions.Timeout("no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise requests.exceptions.ConnectionError(type(error).__name__) from None

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _ask(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> requests.Response:
        """Ask on the connection that is kept; on a new one where there is none, or the server has closed it."""
        request = _rendered(method, target, self._url.netloc, body, headers)
        if self._open is not None and not self._is_over(self._open.sock):
            try:
                return self._exchange(self._open.sock, method, request)
            except _Unsent:
                pass
            except _Unanswered:
                if method not in _IDEMPOTENT:  # it may have been done: who asks decides (RFC 9112 §9.3.1)
                    raise
        self.close()
        self._open = self._made()
        self._open.connect()
        self._open.sock.settimeout(_ANSWER)
        return self._exchange(self._open.sock, method, request)

    def _exchange(self, sock: socket.socket, method: str, request: bytes) -> requests.Response:
        """Send a request and return its answer; raises _Unsent or _Unanswered when the server had closed."""
        try:
            sock.sendall(request)  # in one piece: each wait is a turn lost
        except _CLOSED as error:
            raise _Unsent from error
        answer = http.client.HTTPResponse(sock, method=method)
        try:
            if not answer.fp.peek(1):
                raise _Unanswered
        except _CLOSED as error:
            raise _Unanswered from error
        answer.begin()
        content = answer.read(_LONGEST + 1)
        if answer.length or len(content) > _LONGEST:  # it was cut off, or is too long
            raise http.client.IncompleteRead(b"")
        found = requests.Response()
        found.status_code, found._content = answer.status, content  # noqa: SLF001 - as requests' own adapters do
        found.headers = CaseInsensitiveDict(answer.getheaders())
        if answer.will_close:
            self.close()
        return found

    def _is_over(self, sock: socket.socket) -> bool:
        """Say whether the server has closed a connection. A unix socket says it by itself, and takes nothing then."""
        if self._path:
            return False
        look = select.poll()  # not select(2), which knows no descriptor above 1023
        look.register(sock, select.POLLIN)
        return bool(look.poll(0))

    def _made(self) -> http.client.HTTPConnection:
        if self._path:
            return _UnixConnection(self._path)
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=_CONNECT)
        context = ssl.create_default_context(cafile=self._ca or certifi.where())
        if self._shown:
            context.load_cert_chain(self._shown)
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT, context=context)


def _rendered(method: str, target: str, host: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    """Return a request as it is sent (RFC 9112 §3); ValueError where something in its head would be another line."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    fields = {"Host": host, "Accept-Encoding": "identity", **length, **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if not all(line.isprintable() for line in lines) or " " in target:
        raise ValueError("no request")
    return "\r\n".join((*lines, "", "")).encode() + (body or b"")


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_CONNECT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT)
        self.sock.connect(self._path)
