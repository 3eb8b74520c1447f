"""What `legation status` shows: each fact from whoever knows it, and nothing guessed."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from urllib.parse import urlsplit

from legation.host.desired import InstanceSpec
from legation.host.host import Host
from legation.host.layout import gateway_url
from legation.mesh import names
from legation.runtime import http, process
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import (
    CertmgrStatus,
    ComponentStatus,
    HostStatus,
    Instance,
    InstanceStatus,
    Pids,
    ServiceStatus,
)
from legation.runtime.supervisor import Supervisor
from legation.sidecar import report
from legation.sidecar.admin import Admin, LeafCertificate

ISOLATION = "none (one uid)"
"""Under one uid every process here can read every other's socket and files (design §6)."""


async def collect(host: Host) -> HostStatus:
    """Return the state of the whole mesh on this host."""
    known = {i.id: i for i in host.registry.value.instances}
    # before the first await: an instance may end while its Envoy is asked
    desired = [*host.instances.desired.values(), *_by_hand(host, known)]
    running = [(host.instances.components.get(w.id), host.instances.problem(w.id)) for w in desired]
    described = await asyncio.gather(
        *(_instance(host, w, known.get(w.id), *here) for w, here in zip(desired, running, strict=True))
    )
    by_id = dict(zip((w.id for w in desired), described, strict=True))
    mesh = host.applied.value.mesh
    return HostStatus(
        mesh=mesh.mesh,
        state=str(host.state.root),
        gateway=gateway_url(mesh, host.host.gateway_ports),
        isolation=ISOLATION,
        openbao=_component(host, "openbao"),
        xds_server=_component(host, "xds_server"),
        certmgr=_component(host, "certmgr"),
        telemetry=_component(host, "telemetry"),
        gateways=tuple(by_id[w.id] for w in desired if w.service == names.GATEWAY),
        services=tuple(
            ServiceStatus(name=service, instances=tuple(by_id[w.id] for w in desired if w.service == service))
            for service in mesh.services
        ),
        problems=tuple(await _problems(host, described)),
    )


def _by_hand(host: Host, known: Mapping[str, Instance]) -> Iterator[InstanceSpec]:
    """Yield the instances that somebody else's `legation run` has added to this mesh on this host."""
    for instance in known.values():
        if instance.id not in host.instances.desired and report.read(host.state.instance(instance.id)) is not None:
            yield InstanceSpec(instance.id, instance.service, instance.version)


def _component(host: Host, name: str) -> ComponentStatus:
    component = host.components[name]
    socket = host.state.bao_socket if name == "openbao" else host.state.control(name)
    return ComponentStatus(pid=component.pid, control=str(socket), state=component.state, restarts=component.restarts)


async def _instance(
    host: Host, desired: InstanceSpec, known: Instance | None, component: Supervisor | None, problem: str | None
) -> InstanceStatus:
    said = report.read(host.state.instance(desired.id))
    pids = (
        said.pids
        if said is not None and (component is None or component.pid == said.pids.run)
        else Pids(run=_pid(component))
    )
    alive = pids.run is not None and pids.envoy is not None and process.runs(pids.envoy)
    current = known if known is not None and said is not None and known.boot == said.boot else None
    spiffe = names.spiffe_id(host.applied.value.mesh.trust_domain, desired.service)
    leaf, counts = await _ask(host, desired, spiffe) if alive else (None, {})
    return InstanceStatus(
        id=desired.id,
        version=desired.version,
        inbound=_inbound(host, desired, said),
        admin=f"unix:{host.state.admin(desired.id)}",
        synced=alive and _is_current(host) and current is not None and current.connected and current.synced,
        healthy=alive and current is not None and _healthy(desired, current, pids),
        state=current.state if current is not None else "starting",
        spiffe_id=spiffe,
        certificate_expires=leaf.expires.astimezone(UTC).isoformat().replace("+00:00", "Z") if leaf else None,
        certificate_serial=leaf.serial if leaf else None,
        requests=counts.get("rq_completed"),
        failures=counts.get("rq_5xx"),
        pids=pids,
        restarts=component.restarts if component is not None else 0,
        problem=problem or (current.nacks[0] if current and current.nacks else None),
    )


def _is_current(host: Host) -> bool:
    """Say whether the registry that we know is live, and speaks of the mesh file that is applied."""
    return host.registry_live and host.registry.value.version == host.applied.value.version


def _pid(component: Supervisor | None) -> int | None:
    return component.pid if component is not None else None


def _healthy(desired: InstanceSpec, known: Instance, pids: Pids) -> bool:
    """Say whether an instance takes requests: ready, not found ill, its app there."""
    app_runs = not desired.command or (pids.app is not None and process.runs(pids.app))
    return known.state == "ready" and known.healthy is not False and app_runs


async def _ask(host: Host, desired: InstanceSpec, spiffe_id: str) -> tuple[LeafCertificate | None, dict[str, int]]:
    """Return what an instance's Envoy itself says: the certificate that it presents, and its counts."""
    admin = Admin(host.state.admin(desired.id), limit=1.0)
    prefix = f"http.{names.GATEWAY_LISTENERS if desired.service == names.GATEWAY else names.INBOUND}.downstream_"
    try:
        counts = await admin.stats(f"{prefix}rq_completed", f"{prefix}rq_5xx")
        return await admin.leaf(spiffe_id), {name.removeprefix(prefix): value for name, value in counts.items()}
    except (http.HttpError, ValueError, KeyError):
        return None, {}


def _inbound(host: Host, desired: InstanceSpec, said: report.Report | None) -> str:
    """Return where requests to an instance go: for a gateway, where the world reaches it."""
    if desired.service == names.GATEWAY:
        url = gateway_url(host.applied.value.mesh, host.host.gateway_ports)
        return urlsplit(url).netloc if url else "-"
    return f"{said.address}:{said.port}" if said else "-"


async def _problems(host: Host, instances: Iterable[InstanceStatus]) -> list[str]:
    """Return all that somebody should know, worst first."""
    problems = [*host.file_problems, *(i.problem for i in instances if i.problem)]
    for name, component in host.components.items():
        if component.pid is None and component.state != "starting":
            problems.append(f"{name} is not running; its last words: {component.last_words() or '-'}")
    return [*problems, *await _certificate_problems(host)]


async def _certificate_problems(host: Host) -> list[str]:
    client = ControlClient(host.state.control("certmgr"), limit=1.0)
    try:
        status = await client.get("/status", CertmgrStatus)
    except ControlError:
        return []
    failing = [f"{i.spiffe_id}: {i.error}" for i in status.identities if i.error]
    late = any(i.error and i.not_after is not None for i in status.identities)
    if late and status.seconds_to_outage is not None:
        failing.insert(0, f"certificates are not renewed; the first one expires in {status.seconds_to_outage:.0f} s")
    return failing
