"""What a mesh file desires of a host, as values without the model: who serves what, and how instances start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """How an instance of one version of a service is started. Instances of two specs are two generations.

    `ports` are those of a gateway: (service, port) pairs.
    """

    service: str
    version: str
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """So many instances of one spec; where they follow the load (`autoscale`), it starts so, and stays in `bounds`."""

    spec: WorkloadSpec
    replicas: int
    bounds: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Exposed:
    """Where the gateway offers a service; `host` is one that leads to it, empty where every host does."""

    service: str
    address: str
    port: int
    scheme: str = "http"
    host: str = ""


@dataclass(frozen=True, slots=True)
class DesiredMesh:
    """One version of a mesh file, as far as a host has to know it."""

    mesh: str
    trust_domain: str
    version: str
    services: tuple[str, ...]
    dev: bool = False
    """Its CA may be one for trying things out."""
    health_checks: tuple[tuple[str, str], ...] = ()
    """What the apps of a service are asked, in words: (service, words) pairs."""
    exposed: tuple[Exposed, ...] = ()
    replica_sets: tuple[ReplicaSet, ...] = ()
