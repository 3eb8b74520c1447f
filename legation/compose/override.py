"""A team's compose files and a mesh to an override: sidecars, private networks and names, and nothing else. Pure.

Each service of the mesh leaves its networks for one that it shares with its sidecar alone. There the sidecar has the
names of whom the service calls, so `http://orders:8080` reaches it, and it takes them on over mTLS. Sidecars
meet on a network of their own. What is published goes through the gateway, or while a service is permissive
through its sidecar.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from legation.compose import mesh_services as ours
from legation.compose import observability
from legation.compose.mesh_services import Definition
from legation.compose.project import STARTED, ComposeService, Project, Published
from legation.compose.tags import Override, Reset
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service

SERVICE_LABEL, VERSION_LABEL = "legation.service", "legation.version"
"""By which a compose service says that it is (a version of) a service of the mesh with another name."""

SIDECAR = "-sidecar"
_RUN_STATE = "/run/legation"
_READY = f"import os; os.stat('{_RUN_STATE}/ready')"
_GRACE = "60s"
"""What a sidecar may take to end: callers let go of it, and what is under way comes to its end."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What was done, what could not be and why, and what stays open until the mesh has more of the services."""

    did: list[str] = field(default_factory=list)
    could_not: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rendered:
    """An override, and what to say of it."""

    override: Definition
    notes: Notes


@dataclass(frozen=True, slots=True)
class Adopted:
    """A compose service that is (a version of) a service of the mesh."""

    compose: ComposeService
    service: str
    version: str

    @property
    def sidecar(self) -> str:
        """The name of its sidecar."""
        return self.compose.name + SIDECAR

    @property
    def app(self) -> str:
        """The name that its containers alone have: its own is the sidecar's too, where others call it."""
        return f"{names.COMPONENT_PREFIX}app-{self.compose.name}"

    @property
    def private(self) -> str:
        """The network that it has with its sidecar alone."""
        return f"{self.compose.name}-private"


def render(project: Project, mesh: Mesh, mesh_file: str, *, full: bool = False) -> Rendered:
    """Return the override of some compose files for a mesh, whose file is where compose finds `mesh_file`.

    `full`: with Prometheus and the others, under compose's profile of that name.
    """
    return _Rendering(project, mesh, full).run(mesh_file)


class _Rendering:
    """One rendering, which gathers what it adds and what it has to say."""

    def __init__(self, project: Project, mesh: Mesh, full: bool) -> None:
        self._project, self._mesh, self._full, self._notes = project, mesh, full, Notes()
        self._counting = {name for service in mesh.services.values() for name in _counters(service)}
        self._adopted = tuple(self._adopt())
        self._services: dict[str, Definition] = {}
        self._networks: dict[str, Definition] = {}
        self._front: list[str] = []

    def run(self, mesh_file: str) -> Rendered:
        """Do it all."""
        for one in self._adopted:
            self._around(one)
        identities = [*dict.fromkeys(one.service for one in self._adopted), names.XDS_SERVER]
        if self._front:
            identities.append(names.GATEWAY)
            self._services[names.GATEWAY] = self._gateway()
            self._networks[ours.EDGE_NETWORK] = {}
        self._services |= ours.components(mesh_file, identities, observed=self._full)
        if self._full:
            self._observe(mesh_file)
        away = {*self._mesh.external, names.PASSTHROUGH}
        leaves = any(away.intersection(self._mesh.reached(one.service)) for one in self._adopted)
        self._networks[ours.MESH_NETWORK] = {} if leaves else {"internal": True}
        self._say_missing()
        override = {
            "services": self._services,
            "networks": self._networks,
            "volumes": ours.volumes(identities, observed=self._full),
        }
        return Rendered(override, self._notes)

    def _adopt(self) -> Iterator[Adopted]:
        for name, compose in self._project.services.items():
            service = compose.labels.get(SERVICE_LABEL, name)
            if service not in self._mesh.services:
                continue
            if (why := self._unfit(compose)) is not None:
                self._notes.could_not.append(f"{name} stays as it is: {why}")
            else:
                yield Adopted(compose, service, compose.labels.get(VERSION_LABEL, "v1"))

    def _unfit(self, compose: ComposeService) -> str | None:
        if compose.network_mode:
            return (
                f"network_mode: {compose.network_mode} gives it no network of its own that a sidecar could stand "
                "between: remove network_mode to have it in the mesh"
            )
        if compose.name + SIDECAR in self._project.services:
            return f"there is a service {compose.name}{SIDECAR} already: rename it"
        return None

    def _around(self, one: Adopted) -> None:
        """Put a sidecar around a service."""
        compose, outside = one.compose, self._outside_of(one)
        self._networks[one.private] = {"internal": True}
        self._services[compose.name] = self._moved(one)
        self._services[one.sidecar] = self._sidecar(one, outside)
        self._notes.did.append(
            f"{compose.name} is on {one.private} with {one.sidecar} alone"
            + (f", where it calls {', '.join(self._names(one))}" if self._names(one) else "")
        )
        self._keep_dependencies(one)
        self._publish(one)
        self._say_callers(one, outside)

    def _moved(self, one: Adopted) -> Definition:
        """Return what changes of the service itself."""
        changed: Definition = {
            "networks": Override({one.private: {"aliases": [one.app]}}),
            "depends_on": ours.after() | {one.sidecar: {"condition": "service_healthy"}},
        }
        if self._full and one.service in self._counting:  # it reads the limits that are rendered
            rendered = {"condition": "service_completed_successfully", "required": False}
            changed["depends_on"][observability.RENDER] = rendered
        if one.compose.ports or one.compose.odd_ports:
            changed["ports"] = Reset([])
        if one.compose.links:
            changed["links"] = Reset([])
            changed["depends_on"] |= {name: {"condition": STARTED} for name in one.compose.linked}
            self._say_links(one)
        return changed

    def _sidecar(self, one: Adopted, outside: Mapping[str, tuple[str, ...]]) -> Definition:
        service, name = self._mesh.services[one.service], one.compose.name
        command = ["run", "--service", one.service, "--version", one.version]
        command += ["--app", f"{one.app}:{service.port}", "--private", f"legation-private-{name}"]
        command += [word for network in outside for word in ("--plain", f"legation-plain-{name}-{network}")]
        mine: Definition = {one.private: {"aliases": [*self._names(one), f"legation-private-{name}"]}}
        for network, aliases in outside.items():
            mine[network] = {"aliases": [name, *aliases, f"legation-plain-{name}-{network}"]}
        profiles = {"profiles": list(one.compose.profiles)} if one.compose.profiles else {}
        return _envoy(name, one.service, command, mine, observed=self._full) | profiles

    def _gateway(self) -> Definition:
        ports = list(dict.fromkeys(self._front))
        command = ["run", "--service", names.GATEWAY]
        edge: Definition = {ours.EDGE_NETWORK: {}}
        return {**_envoy("gateway", names.GATEWAY, command, edge, observed=self._full), "ports": ports}

    def _observe(self, mesh_file: str) -> None:
        """Add what the profile `full` has, and the networks where it meets the mesh."""
        self._services |= observability.services(mesh_file)
        tracing, logging = self._mesh.tracing, self._mesh.logging.otlp
        ours_alone = tracing is None or tracing.otlp.host == observability.JAEGER
        self._networks[ours.EDGE_NETWORK] = {}
        for network in (ours.OBSERVE_NETWORK, ours.CERTMGR_METRICS_NETWORK):
            self._networks[network] = {"internal": True} if ours_alone else {}
        self._notes.did.append(
            f"--profile {observability.FULL} of docker compose starts telemetry, Prometheus, Alertmanager, Grafana, "
            "Jaeger and Loki too"
        )
        wanted = f"tracing: {{otlp: {{host: {observability.JAEGER}}}}}"
        if tracing is None:
            self._notes.open.append(f"nothing is traced: add {wanted} to mesh.yaml")
        if logging is None:
            url = f"http://{observability.LOKI}:3100/otlp/v1/logs"
            self._notes.open.append(f"Loki gets no logs: add logging: {{otlp: {{url: {url}}}}} to mesh.yaml")

    def _names(self, one: Adopted) -> list[str]:
        """Return the names that a service calls others by."""
        return [call.service for call in self._mesh.services[one.service].calls]

    def _outside_of(self, one: Adopted) -> Mapping[str, tuple[str, ...]]:
        """Return the networks where the sidecar meets services without one: callers, and what it is to call there."""
        reached = self._relayed(one)
        permissive = self._mesh.is_permissive(one.service)
        found = {}
        for network, aliases in one.compose.joined.items():
            others = [other.name for other in self._unmeshed() if network in other.joined]
            if (permissive and (others or one.compose.ports)) or reached.intersection(others):
                found[network] = aliases
        return found

    def _relayed(self, one: Adopted) -> set[str]:
        """Return the hosts that a service calls as `external`, by its sidecar."""
        return {self._mesh.external[name].host for name in self._names(one) if name in self._mesh.external}

    def _unmeshed(self) -> list[ComposeService]:
        adopted = {one.compose.name for one in self._adopted}
        return [s for s in self._project.services.values() if s.name not in adopted and not s.network_mode]

    def _keep_dependencies(self, one: Adopted) -> None:
        """Have those without a sidecar that a service depends on come to it, so that it finds them as before."""
        relayed = self._relayed(one)
        unmeshed = {s.name: s for s in self._unmeshed()}
        for name in self._project.needs(one.compose):
            if name not in unmeshed or name in relayed:
                continue
            networks = self._services.setdefault(name, {}).setdefault("networks", {})
            networks |= {network: {} for network in unmeshed[name].joined if not unmeshed[name].networks}
            aliases = [alias for target, alias in one.compose.renamed if target == name]
            networks[one.private] = {"aliases": aliases} if aliases else {}
            self._notes.open.append(
                f"{name} has no sidecar and joins {one.private}, as {one.compose.name} depends on it: they talk in "
                f"plain text, past the mesh. Add {name} to mesh.yaml, under services or external"
            )

    def _publish(self, one: Adopted) -> None:
        """Move published ports: to the gateway where mesh.yaml exposes the service, else to a permissive sidecar."""
        name, why_not = one.compose.name, "a range of ports is no service's port"
        lost = [(raw, why_not) for raw in one.compose.odd_ports]
        tried = [(str(port), self._publish_one(one, port)) for port in one.compose.ports]
        lost += [(port, reason) for port, reason in tried if reason is not None]
        self._notes.could_not.extend(f"{name} no longer publishes {port}: {reason}" for port, reason in lost)

    def _publish_one(self, one: Adopted, port: Published) -> str | None:
        """Move one published port; return why that cannot be."""
        service, name = self._mesh.services[one.service], one.compose.name
        if port.protocol != "tcp":
            return f"a mesh carries no {port.protocol}"
        if port.target != service.port:
            return f"mesh.yaml says that its port is {service.port}, and a mesh carries no other"
        if service.expose is not None:
            self._front.append(port.at(service.expose.port))
            self._notes.did.append(f"the published port {port} of {name} is the gateway's")
        elif self._mesh.is_permissive(one.service):
            self._services[one.sidecar].setdefault("ports", []).append(str(port))
            self._notes.did.append(
                f"the published port {port} of {name} is its sidecar's, in plain text while permissive"
            )
        else:
            return (
                f"nobody outside has an identity: add expose: {{port: {service.port}}} to services.{one.service}, "
                "and the gateway publishes it"
            )
        return None

    def _say_callers(self, one: Adopted, outside: Mapping[str, tuple[str, ...]]) -> None:
        """Say who could call a service before and cannot any more, and who still can in plain text."""
        known = {*self._project.needs(one.compose), *self._project.jobs(one.compose)}
        near = [s.name for s in self._unmeshed() if set(s.joined) & set(one.compose.joined) and s.name not in known]
        if not near:
            return
        self._say_lost(one, near)
        if self._mesh.is_permissive(one.service) and outside:
            self._notes.open.append(
                f"{', '.join(near)} may call {one.compose.name} in plain text through its sidecar, as it is permissive"
            )
        else:
            self._notes.could_not.append(
                f"{', '.join(near)} cannot call {one.compose.name} any more, having no sidecar: add them to mesh.yaml, "
                f"or say mtls: permissive under services.{one.service} until they are"
            )

    def _say_lost(self, one: Adopted, near: Iterable[str]) -> None:
        """Say whom a service could call before, and may have: not those that wait for it."""
        name, services, relayed = one.compose.name, self._project.services, self._relayed(one)
        lost = [other for other in near if other not in relayed and name not in services[other].waits_for]
        if lost:
            self._notes.open.append(
                f"{name} no longer finds {', '.join(lost)} (no sidecar): one that it calls must be in its depends_on "
                "or in mesh.yaml"
            )

    def _say_links(self, one: Adopted) -> None:
        unmeshed = {service.name for service in self._unmeshed()}
        for target, alias in one.compose.renamed:
            if target not in unmeshed:
                self._notes.could_not.append(
                    f"{one.compose.name} no longer finds {target} as {alias} (links): a sidecar knows services by "
                    f"their own names: have it call {target}"
                )

    def _say_missing(self) -> None:
        there = {one.service for one in self._adopted}
        for name in self._mesh.services:
            if name not in there and name not in self._project.services:
                self._notes.could_not.append(
                    f"{name} of mesh.yaml is in none of the files: give its service the label {SERVICE_LABEL}: {name}"
                )
        for one in self._adopted:
            for name, port, first in _clashes(self._mesh, self._names(one)):
                self._notes.could_not.append(
                    f"{one.compose.name} cannot call {name}: {first} has port {port} too, and connections of a TCP "
                    "service do not say whom they are for: give one of them another port"
                )


def _counters(service: Service) -> Iterator[str]:
    """Yield who counts a service's requests, where all of its instances have one limit."""
    if service.rate_limit is not None and service.rate_limit.global_ is not None:
        yield service.rate_limit.global_.service


def _envoy(name: str, service: str, command: Sequence[str], networks: Definition, *, observed: bool) -> Definition:
    """Return a container of an Envoy with `legation run`; `observed`: on the network of telemetry and Prometheus."""
    there = ["--xds", f"{ours.XDS}:{names.XDS_CONTROL_PORT}", "--advertise", f"legation-mesh-{name}"]
    measured = f"legation-observe-{name}" if observed else f"legation-mesh-{name}"
    where = ["--state", _RUN_STATE, "--sds", "/sds/sds.sock", "--metrics", measured]
    joined = {**networks, ours.MESH_NETWORK: {"aliases": [f"legation-mesh-{name}"]}}
    volumes = [f"{ours.sds_volume(service)}:/sds"]
    if observed:
        where += ["--logs", observability.LOGS_SOCKET]
        joined[ours.OBSERVE_NETWORK] = {"aliases": [measured]}
        volumes.append(f"{ours.V.logs}:/logs:ro")
    return ours.hardened(
        image=ours.SIDECAR_IMAGE,
        command=[*command, *there, *where],
        networks=joined,
        volumes=volumes,
        tmpfs=[f"{_RUN_STATE}:uid={ours.USER},gid={ours.USER},mode=0700,size=64m"],
        stop_grace_period=_GRACE,
        healthcheck=ours.healthy("python3", "-ISc", _READY),
        # nothing else waits for the second to end well, and `up --wait` takes an end for a failure then
        depends_on=ours.after(legation_xds_server="service_healthy", legation_apply="service_completed_successfully"),
    )


def _clashes(mesh: Mesh, called: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Yield who cannot be told apart from another one that was named before, on the same port."""
    taken: dict[int, tuple[str, bool]] = {}
    for name in called:
        known = mesh.services.get(name) or mesh.external[name]
        is_tcp = known.protocol == "tcp"
        first, first_is_tcp = taken.setdefault(known.port, (name, is_tcp))
        if first != name and (is_tcp or first_is_tcp):
            yield name, known.port, first


__all__ = ["Published", "Rendered", "render"]
