"""A program of a bench, spoken with in lines."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path


class Broken(Exception):
    """A program of a bench that did not say what it should."""


class Program:
    """One process; what it logs is in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Take a process whose stdin and stdout are pipes."""
        self._process, self._log = process, log

    def rss(self) -> float:
        """Return the memory that it has in use now, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes) / 1000

    async def say(self, line: str) -> None:
        """Write a line to it."""
        if self._process.stdin is None:
            raise AssertionError("started without a pipe")
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def hear(self, word: str, limit: float) -> str:
        """Return what follows a word on its next line; Broken when another comes, or none within `limit` seconds."""
        if self._process.stdout is None:
            raise AssertionError("started without a pipe")
        try:
            async with asyncio.timeout(limit):
                line = (await self._process.stdout.readline()).decode().strip()
        except TimeoutError:
            raise Broken(f"no {word!r} within {limit:.0f} s, see {self._log}") from None
        said, _, rest = line.partition(" ")
        if said != word:
            raise Broken(f"wanted {word!r}, got {line!r}, see {self._log}")
        return rest


@asynccontextmanager
async def running(command: Sequence[str], log: Path) -> AsyncIterator[Program]:
    """Run a program while the block runs; it ends with the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=errors)
        try:
            yield Program(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
