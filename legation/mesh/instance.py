"""One instance of a service: the value that its sidecar, its bootstrap, the registry and every message share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from legation.mesh import names

Log = Literal["otlp", "stdout"]
"""Where a proxy's access log goes: to telemetry, or out as JSON lines."""


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """Who an instance is and where it listens: an Envoy node's id and metadata.

    `address` is its own address for inbound and outbound listeners. Where other hosts reach it there, `loopback`
    is that of what this host alone may reach: its outbound listeners and metrics. `app_address`:`app_port`
    is where its app listens; `outbound_ports` are the ports that its app was told at its start.
    A gateway (`service` is `names.GATEWAY`) has no app: app_port 0; its `outbound_ports` are where it
    listens for its services in place of their `expose.port`. `boot` is the nonce of this life: the newest wins.

    `by_name`: it is a container beside others. Its app is wherever the name `app_address` leads, and reaches whom it
    calls by their names, at their own ports of `loopback`; a gateway listens on all of its addresses. `plain_addresses`
    are where callers that are not in the mesh reach it while it is permissive, `metrics_address` where Prometheus does.

    A `standalone` Envoy is run by its team: no `legation run` says what it does, so its streams and checks do.
    `log` is where its bootstrap has the access log go; an instance of before says nothing of it. `in_environment`: its
    Envoy's environment has id and version, for that log (`names.INSTANCE_VARIABLE`).
    `lines_module` is the path, on its host, of what its Envoy can load to watch the lines of HTTP/1.
    `lacks` are parts of our configuration that its Envoy does not know, as xds_server has found.
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
    by_name: bool = False
    plain_addresses: tuple[str, ...] = ()
    metrics_address: str = ""
    standalone: bool = False
    log: Log | Literal[""] = ""
    in_environment: bool = False
    lines_module: str = ""
    lacks: tuple[str, ...] = ()

    @property
    def own_address(self) -> str:
        """Where its outbound listeners and its metrics are, which are for this host alone."""
        return self.loopback or self.address

    @property
    def scraped_address(self) -> str:
        """Where its metrics are."""
        return self.metrics_address or ("127.0.0.1" if self.by_name else self.own_address)
