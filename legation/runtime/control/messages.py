"""The wire between the services: one schema for the control APIs of xds_server, certmgr, telemetry and the host.

Each service serves it as JSON over a 0600 unix socket (`legation.runtime.control`). Times are
seconds since the epoch unless they say RFC 3339.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from legation.mesh.desired import DesiredMesh
from legation.mesh.errors import Position, Violation
from legation.mesh.instance import InstanceSpec

SCHEMA = 1


class Message(Struct, frozen=True, kw_only=True):
    """A frozen message; unknown fields are ignored, so that a newer peer can say more."""


class ViolationMessage(Message, frozen=True, kw_only=True):
    """One violation of a mesh file, as `legation.mesh.errors.Violation`."""

    file: str
    line: int
    column: int
    path: str
    message: str

    @classmethod
    def of(cls, violation: Violation) -> "ViolationMessage":
        """Return a violation as a message."""
        at = violation.position
        return cls(file=at.file, line=at.line, column=at.column, path=violation.path, message=violation.message)

    def __str__(self) -> str:
        """Return it as `Violation` writes it."""
        return str(Violation(Position(self.file, self.line, self.column), self.path, self.message))


class Validation(Message, frozen=True, kw_only=True):
    """`legation validate -o json`: the violations of a mesh file, none when it is good."""

    schema_: int = field(name="schema", default=SCHEMA)
    file: str
    version: Annotated[str, Meta(description="content hash; empty when there are violations")] = ""
    violations: tuple[ViolationMessage, ...] = ()
    envoy: Annotated[str, Meta(description="version of the Envoy that was asked about; empty: none was")] = ""
    lost: Annotated[tuple[str, ...], Meta(description="what is left out for that Envoy, as it does not know it")] = ()


class MeshDocument(Message, frozen=True, kw_only=True):
    """The text of mesh.yaml: the body of `PUT /mesh`, the answer of `GET /mesh`, the events of `GET /mesh/watch`."""

    file: str
    text: str
    version: Annotated[str, Meta(description="content hash; empty in a request")] = ""
    saved: Annotated[float | None, Meta(description="when the file was saved, in seconds since the epoch")] = None
    by: Annotated[str, Meta(description="who applied it; a peer on another host is called by its certificate")] = ""
    applied: Annotated[float | None, Meta(description="when xds_server took it; none: before its last start")] = None


class ApplyResult(Message, frozen=True, kw_only=True):
    """The answer of `PUT /mesh`: the version now served, or the violations (422) and nothing changed."""

    version: str
    desired: Annotated[DesiredMesh | None, Meta(description="what the version desires of a host")] = None
    changed: bool = False
    violations: tuple[ViolationMessage, ...] = ()


class SidecarRequest(Message, frozen=True, kw_only=True):
    """`POST /sidecars`: an instance that is to start, and where its host's services are."""

    spec: InstanceSpec
    xds_host: Annotated[str, Meta(description="IP address or name")]
    xds_port: Annotated[int, Meta(description="0: the server's own")]
    sds_socket: str
    admin_socket: str
    logs_socket: Annotated[str, Meta(description="where telemetry takes access logs; empty: they go to stdout")] = ""


class SidecarPlan(Message, frozen=True, kw_only=True):
    """The answer of `POST /sidecars`: what `legation run` needs before it starts an Envoy."""

    spec: Annotated[InstanceSpec, Meta(description="with the outbound ports of the services that it calls")]
    spiffe_id: str
    bootstrap: Annotated[str, Meta(description="Envoy's bootstrap file, JSON")]


class Replacement(Message, frozen=True, kw_only=True):
    """The host's answer of `POST /instances/{id}/replace`: an instance was asked to end."""

    wait: Annotated[bool, Meta(description="serve on, a successor comes; a second SIGTERM says when to drain")]


InstanceState = Literal["starting", "ready", "restarting", "draining"]
RestartReason = Literal["ended", "hung"]


class Instance(Message, frozen=True, kw_only=True):
    """One instance of the registry."""

    spec: InstanceSpec
    state: InstanceState
    healthy: Annotated[bool | None, Meta(description="by its own sidecar's checks; None: none asked for")]
    connected: Annotated[bool, Meta(description="its ADS stream is up")]
    synced: Annotated[bool, Meta(description="it has ACKed all that was sent")]
    spiffe_id: str
    nacks: Annotated[tuple[str, ...], Meta(description="what it NACKs now, one line a resource type")] = ()
    envoy_restarts: Annotated[dict[RestartReason, int], Meta(description="how often its Envoy was started again")] = {}

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.spec.id

    @property
    def serves(self) -> bool:
        """Whether callers get this instance: ready, connected, and not found unhealthy."""
        return self.state == "ready" and self.connected and self.healthy is not False


class InstanceList(Message, frozen=True, kw_only=True):
    """`GET /instances`, and the events of `GET /instances/watch`: the whole registry each time."""

    instances: tuple[Instance, ...]
    version: Annotated[str, Meta(description="of the mesh file that `synced` speaks of")] = ""


class Transition(Message, frozen=True, kw_only=True):
    """`POST /instances/{id}/{ready|restarting|withdraw}`: what `legation run` says of its instance."""

    boot: str
    wait: Annotated[float, Meta(ge=0, le=30, description="withdraw: seconds to wait for the fleet's ACKs")] = 0
    envoy_restarts: Annotated[dict[RestartReason, int], Meta(description="of this boot, so far")] = {}


class TransitionResult(Message, frozen=True, kw_only=True):
    """The answer of a transition: which proxies have not ACKed the change in time."""

    unsynced: tuple[str, ...] = ()


class XdsStatus(Message, frozen=True, kw_only=True):
    """xds_server's `GET /status`."""

    pid: int
    ready: bool
    mesh: str
    version: str
    streams: int
    instances: tuple[Instance, ...]
    violations: Annotated[tuple[ViolationMessage, ...], Meta(description="of the last change that was rejected")] = ()


class Identity(Message, frozen=True, kw_only=True):
    """One identity that certmgr holds on this host."""

    name: Annotated[str, Meta(description="service name, or legation-<component>")]
    spiffe_id: str
    serial: Annotated[str | None, Meta(description="lower-case hex without colons")] = None
    not_before: float | None = None
    not_after: float | None = None
    renew_at: float | None = None
    streams: Annotated[int, Meta(description="open SDS streams")] = 0
    error: Annotated[str | None, Meta(description="why the last attempt failed; None: it did not")] = None


class CertmgrStatus(Message, frozen=True, kw_only=True):
    """certmgr's `GET /status`."""

    pid: int
    ready: Annotated[bool, Meta(description="every desired identity has a valid certificate")]
    vault: Annotated[Literal["ok", "sealed", "unreachable", "starting"], Meta(description="state of Vault or OpenBao")]
    seconds_to_outage: Annotated[float | None, Meta(description="until the first certificate in use expires")]
    identities: tuple[Identity, ...]
    crl_ends: Annotated[float | None, Meta(description="when the list of revoked certificates on show ends")] = None
    revoked: Annotated[tuple[str, ...], Meta(description="serials on that list")] = ()
    problem: Annotated[str | None, Meta(description="what keeps enrolment or revocation from working")] = None
    rollover: Annotated[str | None, Meta(description="where a roll-over of the CA stands, in words")] = None
    vault_url: Annotated[str, Meta(description="the Vault in use; empty: the embedded OpenBao")] = ""


class ProxyReport(Message, frozen=True, kw_only=True):
    """How many SDS streams of an identity there are on this host, and how many have taken what is shown."""

    name: str
    streams: int
    acknowledged: int


class Revoked(Message, frozen=True, kw_only=True):
    """xds_server's `PUT /revoked`: every certificate that is revoked and has not ended."""

    serials: tuple[str, ...]
    owners: Annotated[dict[str, str], Meta(description="whose certificate a serial is, where that is known")] = {}
    wait: Annotated[float, Meta(description="seconds to wait until every proxy has ACKed it")] = 0.0
    number: Annotated[int, Meta(description="of the list: serials leave with a newer one alone")] = 0
    gently: Annotated[bool, Meta(description="their owners have new ones, and first make new connections")] = False


class RevokedResult(Message, frozen=True, kw_only=True):
    """The answer: which proxies have not ACKed it in time, and which instances nobody calls any more."""

    unsynced: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()


class RevokeRequest(Message, frozen=True, kw_only=True):
    """certmgr's `POST /revoke`: the certificates of an identity, or the one of a serial."""

    identity: str = ""
    serial: str = ""
    shut_out: Annotated[bool, Meta(description="issue no new one in its place")] = False
    by: Annotated[str, Meta(description="who asks; it is written into the ledger")] = ""
    wait: Annotated[
        float, Meta(description="seconds to wait for Vault, a step, while it is away, and for this host's proxies")
    ] = 0.0


class RevokeReport(Message, frozen=True, kw_only=True):
    """What was revoked, and which proxies of this host know."""

    serials: tuple[str, ...]
    renewed: tuple[str, ...] = ()
    proxies: tuple[ProxyReport, ...] = ()
    unsynced: Annotated[tuple[str, ...], Meta(description="instances that may still serve open connections")] = ()
    withdrawn: Annotated[tuple[str, ...], Meta(description="instances with these certificates: nobody calls them")] = ()
    seconds: Annotated[float, Meta(description="from the request until all of these proxies had it")] = 0.0
    schema: int = 1


class CertificateMessage(Message, frozen=True, kw_only=True):
    """What certmgr shows of an identity: public certificates alone."""

    name: str
    chain: Annotated[str, Meta(description="leaf, intermediates and root, in PEM")]
    schema: int = 1


class Scaling(Message, frozen=True, kw_only=True):
    """One version of a service whose instances follow the load, and what was last decided about it."""

    service: str
    version: Annotated[str, Meta(description="empty: all of them together")]
    desired: Annotated[int, Meta(description="instances that there are to be")]
    ready: Annotated[int, Meta(description="instances that serve")]
    minimum: int
    maximum: int
    reason: Annotated[str, Meta(description="what the last look found, and what follows from it")]
    blind: Annotated[bool, Meta(description="something is not known, so that none are taken away")] = False
    change: Annotated[str, Meta(description="the last change and its reason; empty: none since telemetry's start")] = ""
    changed_at: float | None = None


class TelemetryStatus(Message, frozen=True, kw_only=True):
    """telemetry's `GET /status`."""

    pid: int
    ready: bool
    discovery_url: str
    targets: int
    scaling: tuple[Scaling, ...] = ()
    scaling_problem: Annotated[str | None, Meta(description="why nothing is scaled; None: nothing hinders it")] = None
    logs_problem: Annotated[str | None, Meta(description="why the team's own receiver has no logs")] = None


class WorkloadInstance(Message, frozen=True, kw_only=True):
    """One instance of a workload on this host."""

    id: str
    ready: bool
    cpu_seconds: Annotated[float | None, Meta(description="processor time of its app and what that has started")] = None


class WorkloadScale(Message, frozen=True, kw_only=True):
    """One version of a service that follows the load: how many instances there are to be, and which there are."""

    service: str
    version: str
    desired: int
    instances: tuple[WorkloadInstance, ...] = ()


class ScaleList(Message, frozen=True, kw_only=True):
    """The host's `GET /scale`: every workload that follows the load."""

    workloads: tuple[WorkloadScale, ...]


class ScaleRequest(Message, frozen=True, kw_only=True):
    """The host's `PUT /scale/{service}/{version}`: have so many instances."""

    replicas: Annotated[int, Meta(ge=1)]
    reason: str = ""


ProcessState = Literal["starting", "running", "restarting", "stopped"]


class ComponentStatus(Message, frozen=True, kw_only=True):
    """One of our own processes under `legation up`."""

    pid: int | None
    control: str
    state: ProcessState
    restarts: int = 0


class Pids(Message, frozen=True, kw_only=True):
    """The processes of one instance; None: not running."""

    run: int | None = None
    envoy: int | None = None
    app: int | None = None


class InstanceStatus(Message, frozen=True, kw_only=True):
    """One instance as `legation status` shows it."""

    id: str
    version: str
    zone: Annotated[str, Meta(description="where it is; empty: nowhere in particular")] = ""
    inbound: str
    admin: str
    synced: bool
    healthy: bool
    outdated: Annotated[bool, Meta(description="a successor is to take its place")] = False
    state: str
    spiffe_id: str
    certificate_expires: Annotated[str | None, Meta(description="RFC 3339")] = None
    certificate_serial: str | None = None
    requests: Annotated[int | None, Meta(description="that its Envoy has answered since its start; None: unknown")] = (
        None
    )
    failures: Annotated[int | None, Meta(description="of those, how many with 5xx")] = None
    pids: Pids = Pids()
    restarts: int = 0
    envoy_restarts: Annotated[dict[RestartReason, int], Meta(description="of its Envoy alone, by what was wrong")] = {}
    problem: Annotated[str | None, Meta(description="what is wrong and how to mend it")] = None
    unwell: Annotated[str | None, Meta(description="what its health check asks and finds; None: it passes")] = None
    unwell_since: Annotated[str | None, Meta(description="RFC 3339; None: for longer than is known")] = None

    @property
    def condition(self) -> str:
        """One word for how it is: healthy, or why not."""
        if self.healthy:
            return "healthy"
        return "unhealthy" if self.state == "ready" else self.state


class ServiceStatus(Message, frozen=True, kw_only=True):
    """A service and its instances on this host."""

    name: str
    instances: tuple[InstanceStatus, ...]
    scaling: Annotated[tuple[Scaling, ...], Meta(description="of each version that follows the load")] = ()


class HostStatus(Message, frozen=True, kw_only=True):
    """`legation status -o json`, and the host's `GET /status`."""

    schema_: int = field(name="schema", default=SCHEMA)
    mesh: str
    state: str
    gateway: str | None
    isolation: str
    openbao: ComponentStatus | None
    xds_server: ComponentStatus
    certmgr: ComponentStatus
    telemetry: ComponentStatus
    gateways: tuple[InstanceStatus, ...] = ()
    services: tuple[ServiceStatus, ...]
    problems: tuple[str, ...] = ()
    rollover: Annotated[str | None, Meta(description="where a roll-over of the CA stands, in words")] = None
    vault: Annotated[str | None, Meta(description="the team's Vault, where that is in use and no `openbao`")] = None

    @property
    def components(self) -> dict[str, ComponentStatus]:
        """Our own processes, by name."""
        known = ((name, getattr(self, name)) for name in ("openbao", "xds_server", "certmgr", "telemetry"))
        return {name: component for name, component in known if component is not None}

    @property
    def instances(self) -> tuple[InstanceStatus, ...]:
        """All instances on this host, the gateways first."""
        return (*self.gateways, *(instance for service in self.services for instance in service.instances))
