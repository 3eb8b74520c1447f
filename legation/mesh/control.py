"""The wire between the services: one schema for the control APIs of xds_server, certmgr, telemetry and the host.

Each service serves it as JSON over a 0600 unix socket (`legation.runtime.control`). Times are
seconds since the epoch unless they say RFC 3339.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from legation.mesh.errors import Fault, Position

SCHEMA = 1


class Message(BaseModel):
    """A frozen message; unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FaultMessage(Message):
    """One fault of a mesh file, as `legation.mesh.errors.Fault`."""

    file: str
    line: int
    column: int
    path: str
    message: str

    @classmethod
    def of(cls, fault: Fault) -> "FaultMessage":
        """Return a fault as a message."""
        at = fault.position
        return cls(file=at.file, line=at.line, column=at.column, path=fault.path, message=fault.message)

    def __str__(self) -> str:
        """Return it as `Fault` writes it."""
        return str(Fault(Position(self.file, self.line, self.column), self.path, self.message))


class Validation(Message):
    """`legation validate -o json`: the faults of a mesh file, none when it is good."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    file: str
    version: Annotated[str, Field(description="content hash; empty when there are faults")] = ""
    faults: tuple[FaultMessage, ...] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class MeshDocument(Message):
    """The text of mesh.yaml: the body of `PUT /mesh`, the answer of `GET /mesh`, the events of `GET /mesh/watch`."""

    file: str
    text: str
    version: Annotated[str, Field(description="content hash; empty in a request")] = ""


class ApplyResult(Message):
    """The answer of `PUT /mesh`: the version now served, or the faults (422) and nothing changed."""

    version: str
    changed: bool = False
    faults: tuple[FaultMessage, ...] = ()


class SidecarPlan(Message):
    """`GET /sidecars/{service}`: what `legation run` needs to know before it starts an Envoy."""

    mesh: str
    trust_domain: str
    service: str
    spiffe_id: str
    protocol: Literal["http", "grpc", "gateway"]
    calls: tuple[str, ...]


State = Literal["starting", "ready", "restarting", "draining"]


class Instance(Message):
    """One instance of the registry."""

    id: str
    boot: Annotated[str, Field(description="nonce of this life of the sidecar; the newest wins")]
    service: str
    version: str
    address: str
    port: int
    metrics_port: int
    zone: str = ""
    state: State
    healthy: Annotated[
        bool | None, Field(description="by its own sidecar's checks; None: none asked for, or no answer")
    ]
    connected: Annotated[bool, Field(description="its ADS stream is up")]
    synced: Annotated[bool, Field(description="it has ACKed all that was sent")]
    spiffe_id: str
    nacks: Annotated[tuple[str, ...], Field(description="what it refuses now, one line a resource type")] = ()


class InstanceList(Message):
    """`GET /instances`, and the events of `GET /instances/watch`: the whole registry each time."""

    instances: tuple[Instance, ...]
    version: Annotated[str, Field(description="of the mesh file that `synced` speaks of")] = ""


class Transition(Message):
    """`POST /instances/{id}/{ready|restarting|withdraw}`: what `legation run` says of its instance."""

    boot: str
    wait: Annotated[float, Field(ge=0, le=30, description="withdraw: seconds to wait for the fleet's ACKs")] = 0


class TransitionResult(Message):
    """The answer of a transition: which proxies have not ACKed the change in time."""

    laggards: tuple[str, ...] = ()


class XdsStatus(Message):
    """xds_server's `GET /status`."""

    pid: int
    ready: bool
    mesh: str
    version: str
    streams: int
    instances: tuple[Instance, ...]
    faults: Annotated[tuple[FaultMessage, ...], Field(description="of the last change that was refused")] = ()


class Identity(Message):
    """One identity that certmgr holds on this host."""

    name: Annotated[str, Field(description="service name, or legation-<part>")]
    spiffe_id: str
    serial: Annotated[str | None, Field(description="lower-case hex without colons")] = None
    not_before: float | None = None
    not_after: float | None = None
    renew_at: float | None = None
    streams: Annotated[int, Field(description="open SDS streams")] = 0
    error: Annotated[str | None, Field(description="why the last attempt failed; None: it did not")] = None


class CertmgrStatus(Message):
    """certmgr's `GET /status`."""

    pid: int
    ready: Annotated[bool, Field(description="every wanted identity has a valid certificate")]
    vault: Annotated[Literal["ok", "sealed", "unreachable", "starting"], Field(description="state of Vault or OpenBao")]
    seconds_to_outage: Annotated[float | None, Field(description="until the first certificate in use expires")]
    identities: tuple[Identity, ...]


class TelemetryStatus(Message):
    """telemetry's `GET /status`."""

    pid: int
    ready: bool
    discovery_url: str
    targets: int


class PartStatus(Message):
    """One of our own processes under `legation up`."""

    pid: int | None
    control: str
    state: Literal["starting", "running", "restarting", "stopped"]
    restarts: int = 0


class Pids(Message):
    """The processes of one instance; None: not running."""

    run: int | None = None
    envoy: int | None = None
    app: int | None = None


class InstanceStatus(Message):
    """One instance as `legation status` shows it."""

    id: str
    version: str
    inbound: str
    admin: str
    synced: bool
    healthy: bool
    state: str
    spiffe_id: str
    certificate_expires: Annotated[str | None, Field(description="RFC 3339")] = None
    certificate_serial: str | None = None
    requests: Annotated[int | None, Field(description="that its Envoy has answered since its start; None: unknown")] = (
        None
    )
    failures: Annotated[int | None, Field(description="of those, how many with 5xx")] = None
    pids: Pids = Pids()
    restarts: int = 0
    problem: Annotated[str | None, Field(description="what is wrong and how to mend it")] = None


class ServiceStatus(Message):
    """A service and its instances on this host."""

    name: str
    instances: tuple[InstanceStatus, ...]


class HostStatus(Message):
    """`legation status -o json`, and the host's `GET /status`."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    mesh: str
    state: str
    gateway: str | None
    isolation: str
    openbao: PartStatus
    xds_server: PartStatus
    certmgr: PartStatus
    telemetry: PartStatus
    gateways: tuple[InstanceStatus, ...] = ()
    services: tuple[ServiceStatus, ...]
    problems: tuple[str, ...] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
