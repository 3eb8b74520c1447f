"""Where one instance is: the addresses, ports and the nonce of one life."""

import asyncio
import secrets
import socket
import time
from contextlib import ExitStack
from dataclasses import replace

from legation.mesh import names
from legation.runtime import host_port, locks
from legation.runtime.tasks import until
from legation.sidecar.settings import RunSettings


async def completed(settings: RunSettings, held: ExitStack) -> RunSettings:
    """Return the settings with what this life has made and taken; OSError where nothing is free."""
    return await _beside(settings) if settings.beside else on_host(settings, held)


async def _beside(settings: RunSettings) -> RunSettings:
    """Return the settings of a container: it has its ports to itself, and an address on each of its networks."""
    app, port = host_port.split(settings.app) if settings.app else ("", 0)
    spec = replace(
        settings.spec,
        boot=_boot(),
        by_name=True,
        address=await own_address(settings.advertise),
        loopback=await own_address(settings.private) if settings.private else "",
        plain_addresses=tuple([await own_address(name) for name in settings.plain]),
        metrics_address=await own_address(settings.metrics) if settings.metrics else "",
        metrics_port=names.METRICS_PORT,
    )
    return replace(settings, spec=replace(spec, app_address=app, app_port=port) if app else spec)


async def own_address(name: str, limit: float = 30.0) -> str:
    """Return the address of ours among those that a name leads to, as several of us may have it; OSError without one.

    docker tells of a container by name as it starts it, so it may take a moment.
    """
    found: list[str] = []

    async def known() -> bool:
        found[:] = [address for address in await _resolved(name) if locks.is_free(address, 0)]
        return bool(found)

    if not await until(known, limit):
        raise OSError(f"{name!r} leads to no address of ours: give this container that name on the network it is for")
    return found[0]


async def _resolved(name: str) -> list[str]:
    try:
        rows = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return [str(row[4][0]) for row in rows]


def _boot() -> str:
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}"


def on_host(settings: RunSettings, held: ExitStack) -> RunSettings:
    """Return the settings of an instance that shares its host with others."""
    address = next((a for a in settings.addresses if _take(f"address/{a}", held)), None)
    if address is None:
        raise OSError(f"{', '.join(settings.addresses[:3])} is taken by another instance on this host")
    port = 0
    if settings.command:
        port, lock = locks.app_port()
        held.enter_context(lock)
    spec = replace(settings.spec, address=address, app_port=port, boot=_boot(), metrics_port=names.METRICS_PORT)
    if settings.advertise:
        host, inbound = _advertised(settings.advertise, held)
        spec = replace(spec, address=host, port=inbound, loopback=address)
    return replace(settings, spec=spec)


def _advertised(wish: str, held: ExitStack) -> tuple[str, int]:
    """Return where other hosts are to reach this instance: the port that is asked for, else the first free one."""
    host, asked = host_port.split(wish, 0)
    ports = (asked,) if asked else (names.INBOUND_PORT, *names.SHARED_INBOUND_PORTS)
    for port in ports:
        if locks.is_free(host, port) and _take(f"inbound/{host}:{port}", held):
            return host, port
    raise OSError(f"no free port for other hosts on {host}: {ports[0]} to {ports[-1]} are taken, or it is not ours")


def _take(name: str, held: ExitStack) -> bool:
    lock = locks.acquire(name)
    if lock is not None:
        held.enter_context(lock)
    return lock is not None
