"""The coordinator of a roll-over of the CA: keeps where that stands and what each host has said; decides nothing.

Whoever moves it on says which version he has seen, so that of two the second is refused; the steps
themselves are certmgr's (`certmgr.core.rollover`). What is kept is durable before anybody hears of it.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from legation.mesh.rollover import HostProgress, Rollover, Standing
from legation.runtime.control.rollover_messages import RolloverView
from legation.runtime.tasks import Latest
from xds_server.registry.store import Store

MOST_HOSTS = 1000


class Moved(Exception):
    """It is not where whoever wants to move it believes."""


class TooManyHosts(Exception):
    """More hosts have reported than are kept."""


class Rollovers:
    """Keeps the roll-over. All methods run on one event loop."""

    def __init__(self, store: Store, instances: Callable[[], Collection[str]]) -> None:
        """Take what the store knows; `instances` are the ids that the registry has now."""
        self._store, self._instances = store, instances
        self._writing = asyncio.Lock()
        self.view: Latest[RolloverView] = Latest(RolloverView(standing=store.rollover()))

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        return self.view.value.standing

    def look(self) -> None:
        """Take the registry's instances in: of use to whoever waits for them, and only while something is under way."""
        now = tuple(sorted(self._instances()))
        running = self.standing.rollover is not None and self.standing.rollover.phase != "done"
        if running and now != self.standing.instances:
            self.view.set(RolloverView(standing=replace(self.standing, instances=now)))

    async def move(self, version: int, rollover: Rollover) -> None:
        """Be at another place from now on; Moved when somebody else was faster. StoreFailed: nothing has changed."""
        async with self._writing:
            if version != self.standing.version:
                raise Moved(f"it is at version {self.standing.version} and not {version} any more: look again")
            await self._keep(replace(self.standing, version=version + 1, rollover=rollover))

    async def report(self, progress: HostProgress) -> None:
        """Take what a host says. TooManyHosts, StoreFailed: nothing has changed."""
        async with self._writing:
            known = self.standing.hosts
            if known.get(progress.host) == progress:
                return
            if progress.host not in known and len(known) >= MOST_HOSTS:
                raise TooManyHosts(f"{MOST_HOSTS} hosts are known: forget those that are gone")
            await self._keep(replace(self.standing, hosts={**known, progress.host: progress}))

    async def forget(self, host: str) -> bool:
        """Forget a host that will not come back; say whether it was known."""
        async with self._writing:
            hosts = {name: said for name, said in self.standing.hosts.items() if name != host}
            if len(hosts) == len(self.standing.hosts):
                return False
            await self._keep(replace(self.standing, hosts=hosts))
            return True

    async def _keep(self, standing: Standing) -> None:
        standing = replace(standing, instances=tuple(sorted(self._instances())))
        await asyncio.to_thread(self._store.save_rollover, standing)
        self.view.set(RolloverView(standing=standing))
