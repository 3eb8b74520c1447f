"""What `legation status` shows: each fact from whoever knows it, and nothing guessed."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import urlsplit

import msgspec

from legation.host.host import Host
from legation.host.instances import Slot
from legation.host.layout import gateway_url
from legation.host.unwell import Unwell, explain
from legation.mesh import names
from legation.runtime import http, process
from legation.runtime.control.client import SILENCE, ControlClient, ControlError
from legation.runtime.control.messages import (
    CertmgrStatus,
    ComponentStatus,
    HostStatus,
    Instance,
    InstanceStatus,
    Pids,
    Scaling,
    ServiceStatus,
    TelemetryStatus,
)
from legation.sidecar import report
from legation.sidecar.admin import Admin, LeafCertificate

_LOG_READ = 1 << 18
"""Bytes of an Envoy's log that are looked at: some hundreds of checks."""
ISOLATION = "none (one uid)"
"""Under one uid every process here can read every other's socket and files (design §6)."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known here of one instance: its place on this host (None: started by hand), registry entry, report."""

    id: str
    service: str
    version: str
    slot: Slot | None
    entry: Instance | None
    said: report.Report | None
    problem: str | None

    @property
    def pids(self) -> Pids:
        """Its processes, by its report, or by ours where that is another life's."""
        run = self.slot.supervisor.pid if self.slot else None
        own = self.said is not None and (self.slot is None or run == self.said.pids.run)
        return self.said.pids if self.said is not None and own else Pids(run=run)

    @property
    def current(self) -> Instance | None:
        """The registry's entry, if it is of the life that runs."""
        same = self.entry is not None and self.said is not None and self.entry.spec.boot == self.said.spec.boot
        return self.entry if same or self.is_standalone else None

    @property
    def is_standalone(self) -> bool:
        """Whether its Envoy is run by its team: then what the registry knows is all that is known."""
        return self.entry is not None and self.entry.spec.standalone


async def collect(host: Host) -> HostStatus:
    """Return the state of the whole mesh on this host."""
    certificates = await _certificates(host)
    # before the next await: an instance may end while its Envoy is asked
    known = tuple(_known(host))
    described = dict(
        zip((k.id for k in known), await asyncio.gather(*(_instance(host, k) for k in known)), strict=True)
    )
    desired = host.desired.value
    scaling, unscaled = await _scaling(host)
    return HostStatus(
        mesh=desired.mesh,
        state=str(host.state.root),
        gateway=gateway_url(desired.exposed, host.host.gateway_ports),
        isolation=ISOLATION,
        openbao=_openbao(host),
        xds_server=_component(host, "xds_server"),
        certmgr=_component(host, "certmgr"),
        telemetry=_component(host, "telemetry"),
        gateways=tuple(described[k.id] for k in known if k.service == names.GATEWAY),
        services=tuple(
            ServiceStatus(
                name=service,
                instances=tuple(described[k.id] for k in known if k.service == service),
                scaling=tuple(s for s in scaling if s.service == service),
            )
            for service in desired.services
        ),
        problems=(*await _problems(host, described.values(), certificates), *unscaled),
        rollover=None if certificates is None else certificates.rollover,
        vault=None if certificates is None else certificates.vault_url or None,
    )


def _known(host: Host) -> Iterator[_Known]:
    """Yield our own instances, then those that somebody else's `legation run` has added to this mesh on this host."""
    entries = {i.id: i for i in host.registry.instances}
    slots = dict(sorted(host.instances.slots.items()))
    for name, slot in slots.items():
        said, problem = report.read(host.state.instance(name)), host.instances.problem(name)
        yield _Known(name, slot.spec.service, slot.spec.version, slot, entries.get(name), said, problem)
    for name, entry in entries.items():
        said = report.read(host.state.instance(name))
        if name not in slots and (said is not None or entry.spec.standalone):
            problem = said.problem if said else None
            yield _Known(name, entry.spec.service, entry.spec.version, None, entry, said, problem)


def _openbao(host: Host) -> ComponentStatus | None:
    """Return the state of the embedded OpenBao that is in use; None where a Vault of the team's is."""
    name = next(iter(host.openbaos.running), None)
    return None if name is None else _component(host, name)


def _component(host: Host, name: str) -> ComponentStatus:
    component, socket = host.components[name], host.state.control(name)
    return ComponentStatus(pid=component.pid, control=str(socket), state=component.state, restarts=component.restarts)


async def _instance(host: Host, known: _Known) -> InstanceStatus:
    pids, current = known.pids, known.current
    alive = pids.run is not None and pids.envoy is not None and process.runs(pids.envoy)
    alive = alive or (known.is_standalone and current is not None and current.connected)
    spiffe = names.spiffe_id(host.desired.value.trust_domain, known.service)
    leaf, counts = await _ask(host, known, spiffe) if alive else (None, {})
    app_runs = known.said is None or not known.said.spec.app_port or (pids.app is not None and process.runs(pids.app))
    ending = known.slot is not None and known.slot.ending
    unwell = _unwell(host, known) if current is not None and current.state == "ready" else None
    return InstanceStatus(
        id=known.id,
        version=known.version,
        zone=current.spec.zone if current is not None else "",
        inbound=_inbound(host, known),
        admin=f"unix:{host.state.admin(known.id)}",
        synced=alive and _is_current(host) and current is not None and current.connected and current.synced,
        healthy=alive and current is not None and current.serves and app_runs and not ending,
        outdated=ending or _is_outdated(host, known),
        state="draining" if ending else current.state if current is not None else "starting",
        spiffe_id=spiffe,
        certificate_expires=leaf.expires.astimezone(UTC).isoformat().replace("+00:00", "Z") if leaf else None,
        certificate_serial=leaf.serial if leaf else None,
        requests=counts.get("rq_completed"),
        failures=counts.get("rq_5xx"),
        pids=pids,
        restarts=known.slot.supervisor.restarts if known.slot is not None else 0,
        envoy_restarts=current.envoy_restarts if current is not None else {},
        unwell=unwell.why if unwell else None,
        unwell_since=unwell.since if unwell else None,
        problem=known.problem or (current.nacks[0] if current and current.nacks else None),
    )


def _unwell(host: Host, known: _Known) -> Unwell | None:
    """Return why an instance does not pass its health check, by its Envoy's own words."""
    if known.entry is None or known.entry.healthy is not False:
        return None
    asked = dict(host.desired.value.health_checks).get(known.service, "a connection")
    return explain(asked, process.tail(host.state.instance(known.id) / "access.log", _LOG_READ, size=_LOG_READ))


def _is_outdated(host: Host, known: _Known) -> bool:
    """Say whether an instance is not what the mesh file desires (any more)."""
    return known.slot is not None and (known.slot.outdated or known.slot.spec not in host.desired_specs())


def _is_current(host: Host) -> bool:
    """Say whether the registry that we know is live, and speaks of the mesh file that is applied."""
    return host.registry_live and host.registry.version == host.desired.value.version


async def _ask(host: Host, known: _Known, spiffe_id: str) -> tuple[LeafCertificate | None, dict[str, int]]:
    """Return what an instance's Envoy itself says: the certificate that it presents, and its counts."""
    admin = Admin(host.state.admin(known.id), limit=1.0)
    prefix = names.gateway_stat_prefix("[^.]*") if known.service == names.GATEWAY else names.INBOUND
    try:
        found = await admin.stats(f"http.{prefix}.downstream_rq_completed", f"http.{prefix}.downstream_rq_5xx")
        counts: Counter[str] = Counter()
        for name, value in found.items():
            counts[name.rpartition(".downstream_")[2]] += value
        return await admin.leaf(spiffe_id), counts
    except (http.HttpError, ValueError, KeyError):
        return None, {}


def _inbound(host: Host, known: _Known) -> str:
    """Return where requests to an instance go: for a gateway, where the world reaches it."""
    if known.service == names.GATEWAY:
        url = gateway_url(host.desired.value.exposed, host.host.gateway_ports)
        return urlsplit(url).netloc if url else "-"
    spec = known.said.spec if known.said else known.entry.spec if known.entry and known.is_standalone else None
    return f"{spec.address}:{spec.port}" if spec else "-"


async def _problems(host: Host, instances: Iterable[InstanceStatus], certificates: CertmgrStatus | None) -> list[str]:
    """Return all that somebody should know, worst first."""
    problems = [*host.file_problems, *(_named(i) for i in instances if i.problem)]
    for name, component in host.components.items():
        if component.pid is None and component.state != "starting":
            problems.append(f"{name} is not running; its last words: {component.last_words() or '-'}")
    return [*problems, *_silence(host), *_certificate_problems(certificates)]


def _silence(host: Host) -> list[str]:
    """Say that xds_server runs and is not heard, and so how old what is shown is: a hung one is not down."""
    lost, runs = host.registry_lost, host.components["xds_server"].pid is not None
    if host.registry_live or lost is None or not runs:
        return []
    age = asyncio.get_running_loop().time() - lost
    return [f"xds_server runs and has not been heard for {SILENCE + age:.0f} s: instances are shown as they were then"]


async def _scaling(host: Host) -> tuple[tuple[Scaling, ...], tuple[str, ...]]:
    """Return what telemetry has decided about each version that follows the load, and what nobody decides about."""
    followed = [s for s in host.sets() if s.bounds is not None]
    if not followed:
        return (), ()
    try:
        said = await ControlClient(host.state.control("telemetry"), limit=1.0).get("/status", TelemetryStatus)
    except ControlError:
        return (), ()  # that telemetry does not run is said of itself
    ready = Counter((r.spec.service, r.spec.version) for r in host.running() if r.ready)
    numbers = {(s.spec.service, s.spec.version): s.replicas for s in followed}
    now = tuple(
        msgspec.structs.replace(s, desired=numbers[s.service, s.version], ready=ready[s.service, s.version])
        for s in said.scaling
        if (s.service, s.version) in numbers
    )
    return now, (f"nothing is scaled: {said.scaling_problem}",) if said.scaling_problem else ()


def _named(instance: InstanceStatus) -> str:
    """Return an instance's problem with its id."""
    problem = instance.problem or ""
    return problem if problem.startswith(instance.id) else f"{instance.id}: {problem}"


async def _certificates(host: Host) -> CertmgrStatus | None:
    try:
        return await ControlClient(host.state.control("certmgr"), limit=1.0).get("/status", CertmgrStatus)
    except ControlError:
        return None


def _certificate_problems(status: CertmgrStatus | None) -> list[str]:
    if status is None:
        return []
    failing = [f"{i.spiffe_id}: {i.error}" for i in status.identities if i.error]
    late = any(i.error and i.not_after is not None for i in status.identities)
    if late and status.seconds_to_outage is not None:
        failing.insert(0, f"certificates are not renewed; the first one expires in {status.seconds_to_outage:.0f} s")
    return failing
