"""In which order types are sent, and what has to wait: make before break.

xDS protocol, "Eventual consistency considerations": clusters, endpoints, listeners, routes; what
is no longer referred to goes last.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource

T = TypeVar("T")

UPSERTS = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE)
"""New and changed resources go in this order; other types follow, by their URL."""

REMOVALS = (LISTENER, ROUTE, CLUSTER, ENDPOINT, SECRET)
"""Removals go in this order, after every upsert; other types follow, by their URL."""

DEPENDENTS: Mapping[str, tuple[str, ...]] = {
    ROUTE: (LISTENER,),
    CLUSTER: (LISTENER, ROUTE),
    ENDPOINT: (LISTENER, ROUTE),
    SECRET: (CLUSTER, LISTENER),
}
"""Whose un-ACKed or NACKed upserts hold a type's removals back: what the client runs may still refer to them."""


DEPENDENCIES: Mapping[str, tuple[str, ...]] = {LISTENER: (CLUSTER,), ROUTE: (CLUSTER,)}
"""Whose un-ACKed upserts hold a type's upserts back: Envoy ACKs a cluster when it is warm, and a route
that comes before that names a cluster that is not there (503 NC). A NACKed one holds nothing up."""


def in_order(type_urls: Iterable[str], order: tuple[str, ...]) -> list[str]:
    """Return type URLs in an order, those that it does not name last."""
    return sorted(type_urls, key=lambda url: (order.index(url) if url in order else len(order), url))


def split(
    resources: Iterable[Resource], removed: Iterable[str], limit: int
) -> Iterator[tuple[tuple[Resource, ...], tuple[str, ...]]]:
    """Yield parts of a response, each of at most `limit` bytes, or of one resource that is larger by itself."""
    for upserts in _chunks(resources, lambda resource: resource.size, limit - _HEADER):
        yield upserts, ()
    for names in _chunks(removed, lambda name: len(name.encode()) + _OVERHEAD, limit - _HEADER):
        yield (), names


def _chunks(items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[tuple[T, ...]]:
    """Yield runs of items that are together of at most `limit`, or single ones that are above it."""
    run: list[T] = []
    total = 0
    for item in items:
        if run and total + size(item) > limit:
            yield tuple(run)
            run, total = [], 0
        run.append(item)
        total += size(item)
    if run:
        yield tuple(run)


_OVERHEAD = 6
"""Tag and length of one removed name, at most."""
_HEADER = 256
"""Type URL and nonce of a response."""
