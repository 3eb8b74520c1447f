"""HTTP over a unix socket for requests, which hvac speaks through: urllib3's connection with another `connect`."""

import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

SCHEME = "http+unix://"


class UnixAdapter(HTTPAdapter):
    """Sends `http+unix://localhost/…` to one socket, whatever the host says."""

    def __init__(self, path: str) -> None:
        """Name the socket."""
        self._pool = _Pool(path)
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,  # noqa: ARG002 - requests' own signature, here and below
        verify: bool | str | None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
        cert: Any = None,  # noqa: ARG002
    ) -> HTTPConnectionPool:
        """Return the socket's own pool; no proxy is ever used."""
        return self._pool

    def request_url(
        self,
        request: requests.PreparedRequest,
        proxies: Mapping[str, str] | None,  # noqa: ARG002
    ) -> str:
        """Return path and query, as to any server."""
        parts = urlsplit(request.url or "")
        path = str(parts.path) or "/"
        return f"{path}?{parts.query}" if parts.query else path

    def close(self) -> None:
        """Close the socket's connections."""
        self._pool.close()
        super().close()


class _Pool(HTTPConnectionPool):
    """Connections to one socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=1)
        self._path = path

    def _new_conn(self) -> "_Connection":
        return _Connection(self._path)


class _Connection(HTTPConnection):
    """One connection to a socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock
