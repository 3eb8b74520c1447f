"""`legation run`: what its words mean on this host."""

import os
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from shutil import which
from socket import gethostname

from legation.cli.leave import fail
from legation.host.layout import HostFile
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.runtime import binaries, host_port
from legation.runtime.console import Exit, chatter
from legation.runtime.process import become
from legation.runtime.state import StateFolder
from legation.sidecar.settings import RunSettings

_FREE_SLOTS = range(names.HOST_SLOT - 1, -1, -1)
"""From above, as the host gives its own instances slots from below."""
_LAST_BLOCK = 190


@dataclass(frozen=True, slots=True)
class Container:
    """What a container beside others is told: where its app is, and who it is on each of its networks."""

    app: str = ""
    private: str = ""
    plain: tuple[str, ...] = ()
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """What the command line said."""

    service: str
    version: str
    instance: str | None
    address: str | None
    xds: str
    advertise: str
    folder: Path
    zone: str
    concurrency: int
    gateway_ports: tuple[str, ...]
    command: tuple[str, ...]
    container: Container = Container()
    sds: str = ""
    logs: str = ""

    @property
    def beside(self) -> bool:
        """Whether this is a container of its own: a sidecar of apps in others, or a gateway."""
        return self.container != Container()


def run(words: Words, state: StateFolder) -> int:
    """Live as one instance of the mesh that runs from a state folder: this process becomes it. Returns on an error."""
    os.umask(0o077)
    host = HostFile.read(state.host_file)
    if words.xds:
        state.make()
        return become("legation.sidecar", _away(words, state).save())
    if host is None:
        chatter(f"no mesh runs from {state.root}: start it with legation up -f mesh.yaml")
        return Exit.UNREACHABLE
    settings = _settings(words, state, host)
    return become("legation.sidecar", settings.save())


def state_of(words: Words, state: Path | None) -> StateFolder:
    """Return the state folder, once the words make sense together: leaves with what would be accepted if not."""
    _check_container(words)
    if words.advertise and not words.beside and not _is_place(words.advertise):
        raise fail(
            Exit.USAGE, f"--advertise {words.advertise!r}: an IPv4 address of this host, as 10.0.0.2 or 10.0.0.2:15006"
        )
    if not words.xds:
        from legation.cli.find import running  # noqa: PLC0415 - it reads mesh files, which takes pydantic

        return running(state, None)
    _check_place("--xds", words.xds)
    if not words.advertise or state is None:
        raise fail(
            Exit.USAGE,
            "--xds needs --advertise ADDRESS, where other hosts reach this instance, and --state DIR, "
            "the folder of the certmgr of this host",
        )
    return StateFolder(state)


def _check_container(words: Words) -> None:
    """Leave with what would be accepted where a container's words make no sense together."""
    given = words.container
    if given.app:
        _check_place("--app", given.app)
    if bool(given.app) == (words.service == names.GATEWAY) and words.beside:
        raise fail(Exit.USAGE, "--private, --plain and --metrics are for containers: a sidecar's, with --app HOST:PORT")
    if words.beside and (words.command or not words.xds or (given.app and not given.private)):
        raise fail(
            Exit.USAGE, "--app goes with --xds HOST:PORT, --advertise NAME and --private NAME, and without a command"
        )


def _check_place(option: str, text: str) -> None:
    try:
        host_port.split(text)
    except ValueError as error:
        raise fail(Exit.USAGE, f"{option} {error}") from error


def _is_place(text: str) -> bool:
    try:
        IPv4Address(host_port.split(text, 0)[0])
    except ValueError:
        return False
    return True


def _away(words: Words, state: StateFolder) -> RunSettings:
    """Return the settings of an instance whose xds_server is on another host: on a block that `up` takes last."""
    host, _ = host_port.split(words.xds)
    here = HostFile(mesh="", file="", pid=0, block=_LAST_BLOCK)
    settings = replace(_settings(words, state, here), xds_host=host, xds_port=0, control=words.xds)
    given = words.container
    return replace(settings, sds=words.sds, logs=words.logs, beside=words.beside, **asdict(given))


def _settings(words: Words, state: StateFolder, host: HostFile) -> RunSettings:
    # containers of one service have the same process ids, and names of their own
    own = gethostname() if words.beside else os.getpid()
    instance = words.instance or f"{words.service}-{words.version}-{own}"
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
        advertise=words.advertise,
    )


def _ports(pairs: tuple[str, ...]) -> dict[str, int]:
    """Return the ports that SERVICE=PORT words say."""
    return {service: int(port) for service, _, port in (pair.partition("=") for pair in pairs)}
