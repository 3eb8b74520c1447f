"""An agent that dies at a step of an issue, as a process of its own (tests/support/forks.py)."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from certmgr.core.ledger import Record
from certmgr.ledger import Ledger
from tests.certmgr.test_ledger import ISSUE
from tests.certmgr.world import Clock, Issuer, world


class Recorder(Issuer):
    """Writes what it has issued into the ledger, as the real one does."""

    def __init__(self, clock, ledger: Ledger | None = None):
        super().__init__(clock)
        self.ledger = ledger

    def issue(self, wanted):
        made = super().issue(wanted)
        self.ledger.append(record_of(wanted, made))
        return made


def record_of(spec, bundle) -> Record:
    return replace(ISSUE, identity=spec.name, serial=bundle.serial, not_after=bundle.life[1])


def main() -> None:
    """Issue an identity into a folder, and die `before` or `after` a function."""
    folder, moment, function = sys.argv[1:]
    at, _, name = function.rpartition(".")
    module, _, called = at.partition(":")
    where = getattr(import_module(module), called) if called else import_module(module)
    real = getattr(where, name)

    def die(*words, **named):
        if moment == "after":
            real(*words, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(where, name, die)
    asyncio.run(_live(Path(folder)))


async def _live(folder: Path) -> None:
    issuer = Recorder(Clock())
    async with world(folder, issuer=issuer) as here:
        issuer.ledger = here.agent._book
        await here.ready()
