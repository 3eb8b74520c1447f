"""What must be true before a mesh may start here, and what it takes of the host: its lock, a loopback block, ports."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from legation.host.desired import gateway_ports
from legation.host.layout import HostFile
from legation.host.tidy import tidy
from legation.mesh.desired import DesiredMesh, Exposed
from legation.runtime import binaries, embedded, locks, process
from legation.runtime.state import StateFolder, default_root

_BLOCKS = range(191)


class CannotStart(Exception):
    """Something is in the way; the text says what, and the way out."""


class AlreadyUp(Exception):
    """Another process runs a mesh from this state folder."""


@contextmanager
def taken(state: StateFolder, file: Path, mesh: DesiredMesh, gateway_port: int | None) -> Iterator[HostFile]:
    """Take what a mesh needs of this host while the block runs; AlreadyUp or CannotStart when it is not to be had."""
    _check_components()
    state.make()
    tidy(state)
    with _locked(state), _block() as block:
        _check_ca(state, mesh)
        _check_trust_domain(state, mesh)
        ports = _gateway_ports(mesh, gateway_port)
        host = HostFile(mesh=mesh.mesh, file=str(file), pid=os.getpid(), block=block, gateway_ports=ports)
        host.write(state.host_file)
        try:
            yield host
        finally:
            state.host_file.unlink(missing_ok=True)


def runs_other(state: StateFolder, mesh: str, file: Path) -> bool:
    """Say whether what runs from a state folder is known to be another mesh, or of another file."""
    host = HostFile.read(state.host_file)
    return host is not None and process.runs(host.pid) and (host.mesh, Path(host.file)) != (mesh, file)


def _check_components() -> None:
    try:
        for component in (binaries.envoy, binaries.bao, binaries.node):
            component()
    except binaries.MissingComponent as error:
        raise CannotStart(str(error)) from error


def _check_ca(state: StateFolder, mesh: DesiredMesh) -> None:
    """Have somebody say that a CA for trying things out is what is wanted, where it is the embedded OpenBao's."""
    if embedded.desired(state) and not mesh.dev:
        raise CannotStart(embedded.NEEDS_DEV)


def _check_trust_domain(state: StateFolder, mesh: DesiredMesh) -> None:
    """Keep a state folder to the trust domain of its CA, whose certificates are constrained to it."""
    file = state.root / "trust_domain"
    if not file.exists():
        file.write_text(mesh.trust_domain)
    if (known := file.read_text()) != mesh.trust_domain:
        raise CannotStart(
            f"{state.root} holds the CA of trust domain {known}, and this mesh's is {mesh.trust_domain}: "
            "choose another folder with --state DIR, or remove this one to begin anew"
        )


@contextmanager
def _locked(state: StateFolder) -> Iterator[None]:
    """Hold the state folder; the kernel lets go of it when we die."""
    with (state.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyUp(str(state.root)) from error
        yield


@contextmanager
def _block() -> Iterator[int]:
    """Hold a loopback block that no other mesh on this host uses."""
    found = locks.first("block", _BLOCKS)
    if found is None:
        raise CannotStart(f"all {len(_BLOCKS)} loopback blocks are taken by other meshes: end one (legation down)")
    block, held = found
    with held:
        yield block


def _gateway_ports(mesh: DesiredMesh, chosen: int | None) -> dict[str, int]:
    """Return the gateway's port of each exposed service: mesh.yaml's, or the chosen one (0: any free one)."""
    exposed = mesh.exposed
    if chosen is not None and len(exposed) != 1:
        raise CannotStart(f"--gateway-port is for a mesh that exposes one service; this one exposes {len(exposed)}")
    return gateway_ports(exposed, {e.service: _port(e, chosen) for e in exposed})


def _port(expose: Exposed, chosen: int | None) -> int:
    if chosen == 0:
        with socket.create_server((expose.address, 0)) as probe:
            return int(probe.getsockname()[1])
    port = chosen or expose.port
    if port < 1024 and os.geteuid() != 0 and not locks.is_free(expose.address, port):
        raise CannotStart(
            f"port {port} needs root: expose {expose.service} on a port above 1023, or use --gateway-port PORT"
        )
    if not locks.is_free(expose.address, port):
        raise CannotStart(
            f"port {port} on {expose.address} is taken{_by_whom(port)}: end that, or choose another port with "
            f"--gateway-port PORT (0: any free one), or change services.{expose.service}.expose.port"
        )
    return port


def _by_whom(port: int) -> str:
    """Return who has a port, where that may be seen: a mesh of ours, or ` by <program> (pid n)`."""
    for file in default_root(os.environ).glob("*/host.json"):
        other = HostFile.read(file)
        if other is not None and port in other.gateway_ports.values() and process.runs(other.pid):
            return f" by mesh {other.mesh} (legation down --state {file.parent} ends it)"
    import psutil  # noqa: PLC0415 - for this message alone

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
