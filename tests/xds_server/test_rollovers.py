"""The coordinator of a roll-over: two who move it, hosts that report, a disk that fails, a restart."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from legation.mesh.rollover import CaRef, HostProgress, Rollover
from xds_server.registry.store import SqliteStore, StoreFailed
from xds_server.rollovers import MOST_HOSTS, Moved, Rollovers, TooManyHosts

ROLLOVER = Rollover("x", "root", CaRef("int-1", "root-1"), CaRef("int-2", "root-2"), "prepare", 1.0, 1.0)


def test_of_two_who_move_it_the_second_is_refused_and_a_restart_remembers(tmp_path: Path) -> None:
    async def main() -> None:
        here = Rollovers(SqliteStore(tmp_path / "x.sqlite"), lambda: ["web-1"])
        assert here.standing.rollover is None
        await here.move(0, ROLLOVER)
        with pytest.raises(Moved, match="at version 1 and not 0"):
            await here.move(0, replace(ROLLOVER, phase="done"))
        await here.report(HostProgress("a", waits=("orders-1: late",)))
        await here.report(HostProgress("a", waits=("orders-1: late",)))
        again = Rollovers(SqliteStore(tmp_path / "x.sqlite"), list)
        assert again.standing == here.standing
        assert again.standing.rollover == ROLLOVER
        assert again.standing.hosts["a"].waits == ("orders-1: late",)
        assert await again.forget("a")
        assert not await again.forget("a")

    asyncio.run(main())


def test_instances_are_told_while_something_is_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        known = ["web-1"]
        here = Rollovers(SqliteStore(tmp_path / "x.sqlite"), lambda: known)
        here.look()
        assert not here.standing.instances
        await here.move(0, ROLLOVER)
        assert list(here.standing.instances) == ["web-1"]
        known.append("orders-1")
        here.look()
        assert list(here.standing.instances) == ["orders-1", "web-1"]
        seen = here.view.value
        here.look()
        assert here.view.value is seen, "no news is told to nobody"

    asyncio.run(main())


def test_what_could_not_be_kept_has_not_happened(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "x.sqlite")
        here = Rollovers(store, list)
        store.close()
        with pytest.raises(StoreFailed):
            await here.move(0, ROLLOVER)
        with pytest.raises(StoreFailed):
            await here.report(HostProgress("a"))
        assert here.standing.rollover is None
        assert here.standing.hosts == {}

    asyncio.run(main())


def test_hosts_are_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "x.sqlite")
        here = Rollovers(store, list)
        many = {f"h{n}": HostProgress(f"h{n}") for n in range(MOST_HOSTS)}
        store.save_rollover(replace(here.standing, hosts=many))
        here = Rollovers(store, list)
        with pytest.raises(TooManyHosts):
            await here.report(HostProgress("one more"))
        await here.report(HostProgress("h1", phase="trust"))
        assert here.standing.hosts["h1"].phase == "trust"

    asyncio.run(main())
