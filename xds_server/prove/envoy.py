"""One run of a stock Envoy that looks at a configuration and ends (`--mode validate`)."""

import asyncio
import re
from pathlib import Path
from signal import SIGKILL

from legation.runtime.process import tail

LIMIT = 5.0
"""Seconds of one run."""

_HEAD = re.compile(r"^error initializing configuration '[^']*': ")


class NoVerdict(Exception):
    """Envoy said neither yes nor no; the text is why."""


async def validate(envoy: Path, config: bytes, folder: Path) -> str | None:
    """Return why Envoy rejects a serialised Bootstrap; None: it accepts it. NoVerdict when it does not come to one.

    An Envoy that breaks over it gets a second chance: what breaks one, and not the machine, breaks all of them.
    """
    file, said = folder / "mesh.pb", folder / "said"
    await asyncio.to_thread(file.write_bytes, config)
    status = await _run(envoy, file, said)
    if status < 0:
        status = await _run(envoy, file, said)
    if status == 0:
        return None
    if status == -SIGKILL:
        raise NoVerdict("Envoy was killed")
    words = " ".join(tail(said).split())
    return _HEAD.sub("", words) or f"it ends with status {status}"


async def _run(envoy: Path, file: Path, said: Path) -> int:
    """Run it once; return its exit status. Should we die meanwhile, it ends by itself."""
    with said.open("wb") as output:
        try:
            # nothing of ours runs in the child before it is Envoy: a fork of what serves gRPC breaks at times
            process = await asyncio.create_subprocess_exec(
                *(envoy, "--mode", "validate", "--config-path", file, "--log-level", "error", "--log-format", "%v"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise NoVerdict(f"Envoy does not start: {error}") from error
    try:
        async with asyncio.timeout(LIMIT):
            return await process.wait()
    except TimeoutError:
        raise NoVerdict(f"Envoy took longer than {LIMIT:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
