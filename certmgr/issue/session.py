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
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import requests
from requests.structures import CaseInsensitiveDict

_CONNECT, _ANSWER = 2.0, 8.0
"""Seconds to connect, and to wait for more of an answer."""
_FRESH = 0.5
"""Seconds after an answer in which a connection is believed to be open still."""
_LONGEST = 64 << 20
"""Bytes of an answer that are read: a list of revoked certificates is the longest (Vault holds a million)."""


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
        self._used = 0.0

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
        sock = self._connection().sock
        sock.sendall(
            _rendered(method, target, self._url.netloc, body, headers)
        )  # in one piece: each wait is a turn lost
        answer = http.client.HTTPResponse(sock, method=method)
        answer.begin()
        content = answer.read(_LONGEST + 1)
        if answer.length or len(content) > _LONGEST:  # it was cut off, or is too long
            raise http.client.IncompleteRead(b"")
        found = requests.Response()
        found.status_code, found._content = answer.status, content  # noqa: SLF001 - as requests' own adapters do
        found.headers = CaseInsensitiveDict(answer.getheaders())
        if answer.will_close:
            self.close()
        self._used = time.monotonic()
        return found

    def _connection(self) -> http.client.HTTPConnection:
        """Return the open connection, or a new one where the server has closed it while nobody used it."""
        if self._open is not None:
            is_fresh = time.monotonic() - self._used < _FRESH
            if is_fresh or not select.select([self._open.sock], [], [], 0)[0]:
                return self._open
        self.close()
        made = self._made()
        made.connect()
        made.sock.settimeout(_ANSWER)
        self._open = made
        return made

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
