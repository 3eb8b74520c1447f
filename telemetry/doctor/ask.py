"""Questions over HTTP to whatever stands at a URL."""

import ssl
from functools import lru_cache

from legation.runtime import http

LIMIT = 5.0


async def get(url: str, words: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> http.Answer:
    """Return the answer to `GET url?words`; HttpError when there is none."""
    address, target = http.split(url, _context)
    return await http.request(address, "GET", target, query=words, headers=headers or {}, limit=LIMIT)


@lru_cache(1)
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
