"""An agent on a folder of its own, with a clock and a CA that the test holds."""

import asyncio
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from certmgr.agent import Agent
from certmgr.core.plan import IdentitySpec
from certmgr.ledger import Ledger
from certmgr.metrics import Metrics
from certmgr.store import Store
from legation.runtime.tasks import until
from tests.certmgr.authority import Authority

NOW = 1_800_000_000.0
ORDERS = IdentitySpec("orders", "spiffe://shop.local/orders", 3600)
WEB = IdentitySpec("web", "spiffe://shop.local/web", 3600)


class Clock:
    def __init__(self, now: float = NOW):
        self.time = now

    def now(self):
        return self.time


class Issuer:
    """Issues at once; or raises what is in `broken`."""

    def __init__(self, clock):
        self.ca, self.clock = Authority(clock.now()), clock
        self.broken: Exception | None = None
        self.issued: list[str] = []

    def issue(self, wanted):
        if self.broken is not None:
            raise self.broken
        self.issued.append(wanted.name)
        now = self.clock.now()
        return self.ca.issue(wanted, life=(now - 60, now + wanted.ttl))

    def forget(self, name):
        pass


class World:
    """An agent on a folder, its clock, its CA."""

    def __init__(self, folder, clock, issuer):
        self.folder, self.clock, self.issuer = folder, clock, issuer
        self.store = Store(folder)
        ledger = Ledger(folder / "ledger.jsonl")
        ledger.open(clock.now())
        self.asked: list[tuple[str, bool]] = []
        self.agent = Agent(
            issuer,
            self.store,
            ledger,
            clock,
            Metrics(CollectorRegistry()),
            socket=lambda name: folder / f"{name}.sock",
            not_enrolled=lambda name, refused: self.asked.append((name, refused)),
        )

    def of(self, name):
        return next(identity for identity in self.agent.identities() if identity.name == name)

    async def ready(self):
        async def is_ready():
            return self.agent.ready()

        assert await until(is_ready, 20), self.agent.identities()

    def wake(self):
        """The clock was moved: look at it now."""
        self.agent._kicked.set()


@asynccontextmanager
async def world(folder, *wanted, clock=None, issuer=None):
    clock = clock or Clock()
    this = World(folder, clock, issuer or Issuer(clock))
    with this.store.lock():
        this.agent.want(wanted or (ORDERS,))
        task = asyncio.ensure_future(this.agent.run())
        try:
            yield this
        finally:
            task.cancel()
            await asyncio.wait([task])
