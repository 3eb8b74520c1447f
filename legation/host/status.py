"""What `legation status` shows: each fact from whoever knows it, and nothing guessed."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from urllib.parse import urlsplit

import httpx

from legation.host.host import Host
from legation.host.layout import gateway_url
from legation.host.part import Part
from legation.host.wanted import Wanted
from legation.mesh import names
from legation.mesh.control import (
    CertmgrStatus,
    HostStatus,
    Instance,
    InstanceStatus,
    PartStatus,
    Pids,
    ServiceStatus,
)
from legation.runtime import process
from legation.runtime.control import ControlClient, ControlError
from legation.sidecar import report
from legation.sidecar.admin import Admin, LeafCertificate

ISOLATION = "none (one uid)"
"""Under one uid every process here can read every other's socket and files (design §6)."""


async def collect(host: Host) -> HostStatus:
    """Return the state of the whole mesh on this host."""
    known = {i.id: i for i in host.registry.value.instances}
    # before the first await: an instance may end while its Envoy is asked
    wanted = [*host.instances.wanted.values(), *_by_hand(host, known)]
    running = [(host.instances.parts.get(w.id), host.instances.problem(w.id)) for w in wanted]
    described = await asyncio.gather(
        *(_instance(host, w, known.get(w.id), *here) for w, here in zip(wanted, running, strict=True))
    )
    by_id = dict(zip((w.id for w in wanted), described, strict=True))
    mesh = host.applied.value.mesh
    return HostStatus(
        mesh=mesh.mesh,
        state=str(host.state.root),
        gateway=gateway_url(mesh, host.host.gateway_ports),
        isolation=ISOLATION,
        **{name: _part(host, name) for name in host.parts},
        gateways=tuple(by_id[w.id] for w in wanted if w.service == names.GATEWAY),
        services=tuple(
            ServiceStatus(name=service, instances=tuple(by_id[w.id] for w in wanted if w.service == service))
            for service in mesh.services
        ),
        problems=tuple(await _problems(host, described)),
    )


def _by_hand(host: Host, known: Mapping[str, Instance]) -> Iterator[Wanted]:
    """Yield the instances that somebody else's `legation run` has added to this mesh on this host."""
    for instance in known.values():
        if instance.id not in host.instances.wanted and report.read(host.state.instance(instance.id)) is not None:
            yield Wanted(instance.id, instance.service, instance.version)


def _part(host: Host, name: str) -> PartStatus:
    part = host.parts[name]
    socket = host.state.bao_socket if name == "openbao" else host.state.control(name)
    return PartStatus(pid=part.pid, control=str(socket), state=part.state, restarts=part.restarts)


async def _instance(
    host: Host, wanted: Wanted, known: Instance | None, part: Part | None, problem: str | None
) -> InstanceStatus:
    said = report.read(host.state.instance(wanted.id))
    pids = said.pids if said is not None and (part is None or part.pid == said.pids.run) else Pids(run=_pid(part))
    alive = pids.run is not None and pids.envoy is not None and process.runs(pids.envoy)
    current = known if known is not None and said is not None and known.boot == said.boot else None
    spiffe = names.spiffe_id(host.applied.value.mesh.trust_domain, wanted.service)
    leaf, counts = await _ask(host, wanted, spiffe) if alive else (None, {})
    return InstanceStatus(
        id=wanted.id,
        version=wanted.version,
        inbound=_inbound(host, wanted, said),
        admin=f"unix:{host.state.admin(wanted.id)}",
        synced=alive and _is_current(host) and current is not None and current.connected and current.synced,
        healthy=alive and current is not None and _healthy(wanted, current, pids),
        state=current.state if current is not None else "starting",
        spiffe_id=spiffe,
        certificate_expires=leaf.expires.astimezone(UTC).isoformat().replace("+00:00", "Z") if leaf else None,
        certificate_serial=leaf.serial if leaf else None,
        requests=counts.get("rq_completed"),
        failures=counts.get("rq_5xx"),
        pids=pids,
        restarts=part.restarts if part is not None else 0,
        problem=problem or (current.nacks[0] if current and current.nacks else None),
    )


def _is_current(host: Host) -> bool:
    """Say whether the registry that we know is live, and speaks of the mesh file that is applied."""
    return host.registry_live and host.registry.value.version == host.applied.value.version


def _pid(part: Part | None) -> int | None:
    return part.pid if part is not None else None


def _healthy(wanted: Wanted, known: Instance, pids: Pids) -> bool:
    """Say whether an instance takes requests: ready, not found ill, its app there."""
    app_runs = not wanted.command or (pids.app is not None and process.runs(pids.app))
    return known.state == "ready" and known.healthy is not False and app_runs


async def _ask(host: Host, wanted: Wanted, spiffe_id: str) -> tuple[LeafCertificate | None, dict[str, int]]:
    """Return what an instance's Envoy itself says: the certificate that it presents, and its counts."""
    admin = Admin(host.state.admin(wanted.id), limit=1.0)
    prefix = f"http.{names.GATEWAY_LISTENERS if wanted.service == names.GATEWAY else names.INBOUND}.downstream_"
    try:
        counts = await admin.stats(f"{prefix}rq_completed", f"{prefix}rq_5xx")
        return await admin.leaf(spiffe_id), {name.removeprefix(prefix): value for name, value in counts.items()}
    except (httpx.HTTPError, ValueError, KeyError):
        return None, {}
    finally:
        await admin.close()


def _inbound(host: Host, wanted: Wanted, said: report.Report | None) -> str:
    """Return where requests to an instance go: for a gateway, where the world reaches it."""
    if wanted.service == names.GATEWAY:
        url = gateway_url(host.applied.value.mesh, host.host.gateway_ports)
        return urlsplit(url).netloc if url else "-"
    return f"{said.address}:{said.port}" if said else "-"


async def _problems(host: Host, instances: Iterable[InstanceStatus]) -> list[str]:
    """Return all that somebody should know, worst first."""
    problems = [*host.file_problems, *(i.problem for i in instances if i.problem)]
    for name, part in host.parts.items():
        if part.pid is None and part.state != "starting":
            problems.append(f"{name} is not running; its last words: {part.last_words() or '-'}")
    return [*problems, *await _certificate_problems(host)]


async def _certificate_problems(host: Host) -> list[str]:
    client = ControlClient(host.state.control("certmgr"), limit=1.0)
    try:
        status = await client.get("/status", CertmgrStatus)
    except ControlError:
        return []
    finally:
        await client.close()
    failing = [f"{i.spiffe_id}: {i.error}" for i in status.identities if i.error]
    late = any(i.error and i.not_after is not None for i in status.identities)
    if late and status.seconds_to_outage is not None:
        failing.insert(0, f"certificates are not renewed; the first one expires in {status.seconds_to_outage:.0f} s")
    return failing
