"""One instance of a service: the value that its sidecar, its bootstrap, the registry and every message share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from legation.mesh import names


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """Who an instance is and where it listens: an Envoy node's id and metadata.

    `address` is its own address for inbound and outbound listeners. Where other hosts reach it there, `loopback`
    is that of what this host alone may reach: its outbound listeners and metrics. `app_address`:`app_port`
    is where its app listens; `outbound_ports` are the ports that its app was told at its start.
    A gateway (`service` is `names.GATEWAY`) has no app: app_port 0; its `outbound_ports` are where it
    listens for its services in place of their `expose.port`. `boot` is the nonce of this life: the newest wins.
    """

    id: str
    service: str
    version: str
    boot: str
    address: str
    port: int = names.INBOUND_PORT
    app_address: str = "127.0.0.1"
    app_port: int = 0
    metrics_port: int = 0
    zone: str = ""
    outbound_ports: Mapping[str, int] = field(default_factory=dict)
    loopback: str = ""

    @property
    def own_address(self) -> str:
        """Where its outbound listeners and its metrics are, which are for this host alone."""
        return self.loopback or self.address
