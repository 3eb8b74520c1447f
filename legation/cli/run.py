"""`legation run`: what its words mean on this host."""

import os
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from legation.cli.output import Exit, chatter
from legation.host.layout import HostFile
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.runtime import binaries
from legation.runtime.process import become
from legation.runtime.state import StateFolder
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


def run(words: Words, state: StateFolder) -> int:
    """Live as one instance of the mesh that runs from a state folder: this process becomes it. Returns on an error."""
    os.umask(0o077)
    host = HostFile.read(state.host_file)
    if host is None:
        chatter(f"no mesh runs from {state.root}: start it with legation up -f mesh.yaml")
        return Exit.UNREACHABLE
    settings = _settings(words, state, host)
    return become("legation.sidecar", settings.save())


def _settings(words: Words, state: StateFolder, host: HostFile) -> RunSettings:
    instance = words.instance or f"{words.service}-{words.version}-{os.getpid()}"
    free = tuple(names.loopback_address(host.block, slot) for slot in _FREE_SLOTS)
    ports = _ports(words.gateway_ports)
    return RunSettings(
        spec=InstanceSpec(instance, words.service, words.version, "", "", zone=words.zone, outbound_ports=ports),
        addresses=(words.address,) if words.address else free,
        xds_host=host.address,
        xds_port=names.XDS_PORT,
        root=state.root,
        envoy=binaries.envoy(),
        command=words.command if which("node") else binaries.with_node(words.command),
        folder=words.folder,
        concurrency=words.concurrency,
    )


def _ports(pairs: tuple[str, ...]) -> dict[str, int]:
    """Return the ports that SERVICE=PORT words say."""
    return {service: int(port) for service, _, port in (pair.partition("=") for pair in pairs)}
