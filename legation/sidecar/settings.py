"""What one `legation run` is told: which instance it is, and where its host's services are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from legation.mesh import names
from legation.runtime.state import StateFolder


@dataclass(frozen=True, slots=True)
class RunSettings:
    """One instance. `command` is the app's program and arguments; empty for a sidecar alone.

    `gateway_ports` are what a gateway listens on for its services, where not on their `expose.port`.
    """

    service: str
    version: str
    instance: str
    address: str
    xds_host: str
    xds_port: int
    state: StateFolder
    command: tuple[str, ...] = ()
    folder: Path | None = None
    port: int = names.INBOUND_PORT
    metrics_port: int = names.METRICS_PORT
    concurrency: int = 1
    zone: str = ""
    gateway_ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        """Where this instance's bootstrap, logs and state are."""
        return self.state.instance(self.instance)
