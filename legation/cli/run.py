"""`legation run`: what its words mean on this host."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from legation.cli.output import Exit, chatter
from legation.host.layout import HostFile
from legation.mesh import names
from legation.runtime import binaries, locks
from legation.runtime import log as logs
from legation.runtime.control.client import ControlError
from legation.runtime.state import StateFolder
from legation.sidecar import run as sidecar
from legation.sidecar.settings import RunSettings

_FREE_SLOTS = range(names.HOST_SLOT - 1, -1, -1)
"""From above, as the host gives its own instances slots from below."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the command line said."""

    service: str
    version: str
    instance: str | None
    address: str | None
    folder: Path
    zone: str
    concurrency: int
    gateway_ports: tuple[str, ...]
    command: tuple[str, ...]


async def run(words: Words, state: StateFolder) -> int:
    """Live as one instance of the mesh that runs from a state folder; return the exit code."""
    os.umask(0o077)
    host = HostFile.read(state.host_file)
    if host is None:
        chatter(f"no mesh runs from {state.root}: start it with legation up -f mesh.yaml")
        return Exit.UNREACHABLE
    found = _address(words, host)
    if found is None:
        chatter(f"no loopback address of block {host.block} is free, or {words.address} is taken by another instance")
        return Exit.FINDINGS
    address, held = found
    logs.set_up("sidecar")
    with held:
        try:
            return await sidecar.run(_settings(words, state, host, address), os.environ)
        except ControlError as error:
            sys.stderr.write(f"{error.text}\n")
            return Exit.FINDINGS


def _address(words: Words, host: HostFile) -> tuple[str, locks.Lock] | None:
    """Return this instance's own loopback address, with the lock on it."""
    if words.address is not None:
        held = locks.acquire(f"address/{words.address}")
        return (words.address, held) if held is not None else None
    for slot in _FREE_SLOTS:
        address = names.loopback_address(host.block, slot)
        if (held := locks.acquire(f"address/{address}")) is not None:
            return address, held
    return None


def _settings(words: Words, state: StateFolder, host: HostFile, address: str) -> RunSettings:
    return RunSettings(
        service=words.service,
        version=words.version,
        instance=words.instance or f"{words.service}-{words.version}-{os.getpid()}",
        address=address,
        xds_host=host.address,
        xds_port=names.XDS_PORT,
        state=state,
        command=words.command if which("node") else binaries.with_node(words.command),
        folder=words.folder,
        concurrency=words.concurrency,
        zone=words.zone,
        gateway_ports=_ports(words.gateway_ports),
    )


def _ports(pairs: tuple[str, ...]) -> dict[str, int]:
    """Return the ports that SERVICE=PORT words say."""
    return {service: int(port) for service, _, port in (pair.partition("=") for pair in pairs)}
