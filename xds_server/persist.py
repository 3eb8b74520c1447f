"""The registry made durable: what has changed is written, what could not be is written with the next change."""

import asyncio

import structlog

from xds_server.metrics import Metrics
from xds_server.registry.entry import Entry
from xds_server.registry.registry import Registry
from xds_server.registry.store import Store, StoreFailed

log = structlog.get_logger()


class Persister:
    """Keeps a store at what the registry holds. The store is asked in a thread."""

    def __init__(self, registry: Registry, store: Store, metrics: Metrics) -> None:
        """Know nothing of the store yet."""
        self._registry, self._store, self._metrics = registry, store, metrics
        self._saving = asyncio.Lock()
        self._stored: dict[str, Entry] = {}

    def restore(self, now: float) -> None:
        """Take the instances of our last life."""
        entries = self._store.load()
        self._stored = {e.node.id: e for e in entries}
        self._registry.restore(entries, now)

    async def save(self) -> None:
        """Write what has changed since the last write. A store that fails stops nobody."""
        try:
            async with self._saving:
                await self._save()
        except StoreFailed as failed:
            self._metrics.store_failures.inc()
            log.error("registry not stored, a restart now would forget this", error=str(failed))  # noqa: TRY400 - said whole

    async def _save(self) -> None:
        touched = self._registry.take_touched()
        now = {i: self._registry.entries.get(i) for i in touched}
        fresh = [e for i, e in now.items() if e is not None and _lasting(self._stored.get(i)) != _lasting(e)]
        gone = [i for i, e in now.items() if e is None and i in self._stored]
        if fresh or gone:
            await self._write(touched, fresh, gone)

    async def _write(self, touched: frozenset[str], fresh: list[Entry], gone: list[str]) -> None:
        try:
            await asyncio.to_thread(self._store.save, fresh, gone)
        except BaseException:
            self._registry.touch(touched)
            raise
        self._stored.update((e.node.id, e) for e in fresh)
        for instance in gone:
            self._stored.pop(instance, None)


def _lasting(entry: Entry | None) -> tuple[object, ...] | None:
    """Return what of an entry outlives us."""
    return (entry.node, entry.spiffe_id, entry.state, entry.healthy) if entry else None
