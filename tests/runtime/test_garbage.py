"""When the garbage collector may run, and that what it is kept from needs none of it."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from bench import world
from legation.mesh.load import load
from legation.runtime.garbage import Collector
from legation.runtime.tasks import until
from xds_server.compile import Compiler


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.collect()
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_in_a_paused_block_and_what_it_made_is_left_alone_after() -> None:
    collector = Collector()
    with collector.paused():
        assert not gc.isenabled()
        made = [[n] for n in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(made)
    assert not any(made[0] is known for known in gc.get_objects())


def test_an_error_in_the_block_ends_the_pause() -> None:
    with pytest.raises(ValueError, match="no mesh"), Collector().paused():
        raise ValueError("no mesh")
    assert gc.isenabled()


def test_a_sweep_takes_what_has_ended_in_cycles_meanwhile() -> None:
    async def run() -> None:
        collector, gone = Collector(), list[bool]()
        with collector.paused():
            Cycle(gone)
        gc.collect()
        assert gone == []
        sweep = asyncio.ensure_future(collector.sweep(every=0.01))

        async def taken() -> bool:
            return gone == [True]

        assert await until(taken, limit=10, every=0.01)
        sweep.cancel()

    asyncio.run(run())


class Cycle:
    def __init__(self, gone: list[bool]) -> None:
        self.itself, self._gone = self, gone

    def __del__(self) -> None:
        self._gone.append(True)


def test_a_mesh_and_what_is_compiled_from_it_have_no_cycles() -> None:
    """They are freed at once, so that a collector that leaves them alone loses nothing."""
    nodes = list(world.instances(20, 1))
    gc.disable()
    before = len(gc.get_objects())
    mesh = load(world.ring(20, 5), "mesh.yaml")
    compiler = Compiler(mesh)
    compiler.prepare(nodes)
    made = len(gc.get_objects()) - before
    del mesh, compiler
    left = len(gc.get_objects()) - before
    assert made > 1000
    assert left < 100
