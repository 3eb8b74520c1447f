"""Questions over HTTP to whatever stands at a URL."""

import ssl
from functools import lru_cache
from urllib.parse import urlencode, urlsplit

from legation.runtime import http

LIMIT = 5.0


async def get(url: str, words: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> http.Answer:
    """Return the answer to `GET url?words`; HttpError when there is none."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{urlencode(words)}" if words else "")
    return await http.request(_address(url), "GET", target, headers=headers or {}, limit=LIMIT)


def _address(url: str) -> http.Address:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return (host, parts.port or 80)
    return http.Secure(host, parts.port or 443, _context, lambda _: None)


@lru_cache(1)
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
