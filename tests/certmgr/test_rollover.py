"""A roll-over on a real OpenBao: step by step, with a kill at every one, and never a peer that another refuses."""

import asyncio

import pytest

from certmgr.core.trust import pem
from certmgr.store import Store
from legation.runtime.tasks import until
from tests.certmgr.host import NAMES
from tests.certmgr.rollover_scene import Scene, made, running

pytestmark = pytest.mark.timeout(240)


def test_root_is_rolled_over_and_everything_is_killed_at_every_step(tmp_path):
    """certmgr and the command die at each step; the coordinator begins again from its disk each time."""
    seen: set[tuple[str, str]] = set()

    async def main(scene: Scene):
        died = asyncio.Event()

        def cut(moment: str, phase: str) -> None:
            """The first time that it comes to this, everybody dies of it."""
            is_new = (moment, phase) not in seen and phase not in {"", "done"}
            if not is_new or moment == "before" or (moment == "report" and phase not in {"trust", "issue", "drop"}):
                return
            seen.add((moment, phase))
            scene.certmgr.kill()
            for command in scene.commands:
                command.kill()
            died.set()

        async with running(scene, cut) as there:
            before = scene.state
            old = Store(before.certmgr).roots()
            words = ("--vault", scene.vault.url, "--vault-ca", str(scene.vault.ca), "--wait")
            scene.command("start", *words, "--settle", "1s")
            while there.phase != "done":
                async with asyncio.timeout(60):
                    while there.phase != "done" and not died.is_set():
                        await until(lambda: _true(died.is_set() or there.phase == "done"), 5)
                if died.is_set():
                    died.clear()
                    there.begin()
                    scene.start()
                    scene.command(
                        "continue" if there.phase else "start", *words, *(() if there.phase else ("--settle", "1s"))
                    )
            status = await scene.certmgr.ready(names=NAMES)
            assert status.rollover is None
            (new,) = Store(before.certmgr).roots()
            assert new not in old
            assert new.subject.rfc4514_string() == "CN=Legation root of shop 2"
            assert scene.refused == []

            async def all_have_it() -> bool:
                return scene.roots() == {pem([new])}

            assert await until(all_have_it, 20)

    with made(tmp_path) as scene:
        asyncio.run(main(scene))
        assert seen >= {("after", p) for p in ("prepare", "trust", "switch", "issue", "retire", "settle", "drop")}
        assert seen >= {("report", p) for p in ("trust", "issue", "drop")}
        assert len(scene.tokens) > 5
        assert scene.leaks() == []


async def _true(value: bool) -> bool:
    return value
