"""Who a proxy says it is, and where the instances of the services are: the inputs of compile beside the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    """One proxy, from its node id and metadata (all values are strings there but `outbound_ports`).

    `address` is its own address for inbound and outbound listeners; `app_address`:`app_port` is
    where its app listens; `outbound_ports` are the ports that its app was told at its start.
    A gateway (`service` is `names.GATEWAY`) has no app: app_port 0; its `outbound_ports` are where it
    listens for its services in place of their `expose.port`.
    """

    id: str
    service: str
    version: str
    boot: str
    address: str
    port: int
    app_address: str = "127.0.0.1"
    app_port: int = 0
    metrics_port: int = 0
    zone: str = ""
    outbound_ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One instance as its callers see it. Unhealthy ones are sent too, marked so."""

    instance: str
    version: str
    address: str
    port: int
    healthy: bool = True
    zone: str = ""
