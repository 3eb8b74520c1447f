"""Docker compose as an actuator: its own command starts and ends the containers of a service."""

import asyncio
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from telemetry.autoscale.actuator import ActuatorError, Workload

DOCKER = "docker"
_ASK_LIMIT, _SCALE_LIMIT = 20.0, 120.0
_END_LIMIT = 10.0
"""For a command that has begun when telemetry ends. Killed, it may leave a container half started, and the Engine with
an endpoint of it that no `down` takes away (network … has active endpoints)."""


class Compose:
    """`docker compose` with its files. Containers that it takes away end by SIGTERM, in their `stop_grace_period`."""

    def __init__(self, files: Sequence[Path], program: str = DOCKER) -> None:
        """Speak of the services of compose files, in compose's own order; they are called as mesh.yaml calls them."""
        self._files, self._program = [word for file in files for word in ("--file", str(file))], program
        self._scaling = asyncio.Lock()

    async def look(self, services: Collection[str]) -> tuple[Workload, ...]:
        """Return the services that have containers; of the others, nobody is to say how many there are."""
        said = await self._run(_ASK_LIMIT, "ps", "--all", "--format", "json")
        try:
            containers = list(_containers(said))
            found = {name: [c for c in containers if c["Service"] == name] for name in services}
            return tuple(_workload(name, of) for name, of in found.items() if any(map(_runs, of)))
        except (ValueError, KeyError, TypeError) as error:
            raise ActuatorError(f"docker compose ps answers in a form that is not known: {said[:200]!r}") from error

    async def scale(self, workload: Workload, replicas: int, reason: str) -> None:  # noqa: ARG002 - docker asks for none
        """Have so many containers; those that are there stay as they are."""
        number = f"{workload.service}={replicas}"
        words = ("up", "--detach", "--no-deps", "--no-recreate", "--scale", number, workload.service)
        async with self._scaling:  # two at once would see each other's half
            await self._run(_SCALE_LIMIT, *words)

    async def _run(self, limit: float, *words: str) -> str:
        """Return what `docker compose` says; ActuatorError when it fails or takes too long."""
        command = (self._program, "compose", *self._files, *words)
        pipe = asyncio.subprocess.PIPE
        try:
            running = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise ActuatorError(f"{self._program} cannot be started: {error.strerror}") from error
        said, chatter = await _output(running, limit, words[0])
        if running.returncode != 0:
            last = (chatter.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
            raise ActuatorError(f"docker compose {words[0]} ends with {running.returncode}: {last}")
        return said.decode(errors="replace")


async def _output(running: asyncio.subprocess.Process, limit: float, word: str) -> tuple[bytes, bytes]:
    """Return what a command has written when it ends; ActuatorError when that takes too long. None is left running."""
    try:
        return await asyncio.wait_for(running.communicate(), limit)
    except TimeoutError as error:
        raise ActuatorError(f"docker compose {word} has taken longer than {limit:.0f} s") from error
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            await asyncio.wait_for(running.wait(), _END_LIMIT)
        raise
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


def _containers(said: str) -> Iterator[dict[str, Any]]:
    """Yield the containers of `ps --format json`: a list until compose 2.20, an object a line since."""
    if said.lstrip().startswith("["):
        yield from json.loads(said)
    else:
        yield from (json.loads(line) for line in said.splitlines() if line.strip())


def _workload(service: str, containers: list[dict[str, Any]]) -> Workload:
    there = [c for c in containers if _runs(c)]
    serving = sum(c.get("Health", "") in {"", "healthy"} for c in there)
    return Workload(service, "", len(there), (), serving)


def _runs(container: dict[str, Any]) -> bool:
    return container["State"] in {"running", "restarting", "created"}
