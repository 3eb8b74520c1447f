"""The load client's own process: keeps the rate, and writes a line of JSON for each request to stdout."""

import asyncio
import contextlib
import itertools
import json
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from legation.runtime.tasks import spawn
from tests.support.load_http import Answer, Connection, NoAnswer
from tests.support.load_report import Record, Request

BEHIND = 5.0
"""Seconds after which a request that found no free connection is dropped, and counted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: requests per second, over so many connections at once, for `limit` seconds at the most."""

    host: str
    port: int
    mix: Callable[[int], Request]
    rate: float
    connections: int
    timeout: float
    limit: float


@dataclass(slots=True)
class Run:
    """The state that all connections share."""

    plan: Plan
    begin: float
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def work(self) -> None:
        """Be one of the connections: take the next number, wait for its time, send its request."""
        pooled = Connection(self.plan.host, self.plan.port)
        while not self.stop.is_set():
            number = next(self.numbers)
            due = self.begin + number / self.plan.rate
            await self._wait(due)
            if self.stop.is_set() or due - self.begin > self.plan.limit:
                break
            if time.monotonic() - due > BEHIND:
                write({"dropped": number})
                continue
            fresh = number % 2 == 1
            connection = Connection(self.plan.host, self.plan.port) if fresh else pooled
            write(asdict(await attempt(self.plan, connection, number, due, fresh=fresh)))
        pooled.close()

    async def _wait(self, due: float) -> None:
        """Wait for a time, or for the end."""
        left = due - time.monotonic()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), left)


async def attempt(plan: Plan, connection: Connection, number: int, due: float, *, fresh: bool) -> Record:
    """Make one request, and say what came of it."""
    request = plan.mix(number)
    answer: Answer | None = None
    failure: str | None = None
    start = time.monotonic()
    try:
        answer = await asyncio.wait_for(connection.send(request, keep=not fresh), plan.timeout)
    except NoAnswer as error:
        failure = str(error)
    except TimeoutError:
        failure = f"timeout of {plan.timeout:g} s"
    end = time.monotonic()
    if answer is not None and not request.accepts(answer.status):
        failure = f"status {answer.status}"
    return Record(
        number=number,
        method=request.method,
        path=request.path,
        due=due,
        start=start,
        end=end,
        fresh=fresh,
        status=answer.status if answer else None,
        failure=failure,
        detail=answer.body[:300].decode(errors="replace") if answer and failure else "",
        instances={name: value for name, value in answer.headers.items() if name.endswith("instance")}
        if answer
        else {},
    )


def write(line: dict[str, object]) -> None:
    """Write one line for the parent."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def run(plan: Plan) -> None:
    """Send what the plan says, until stdin ends or its limit is reached."""
    running = Run(plan, time.monotonic())
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), running.stop.set)
    async with asyncio.TaskGroup() as group:
        for number in range(plan.connections):
            spawn(group, f"connection-{number}", running.work())


def main() -> None:
    """Read the plan from stdin (pickled by our parent), run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; we end with our stdin
    plan = pickle.load(sys.stdin.buffer)
    asyncio.run(run(plan))


if __name__ == "__main__":
    main()
