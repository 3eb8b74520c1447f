"""Settings of telemetry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from legation.mesh import names
from legation.runtime import host_port

TELEMETRY = "telemetry"
NOWHERE = Path()


@dataclass(frozen=True, slots=True)
class Settings:
    """telemetry: finds the sidecars for Prometheus, and lists what the mesh should have."""

    control: Path = field(metadata={"help": "unix socket of the control API"})
    xds_control: Path = field(default=NOWHERE, metadata={"help": "unix socket of xds_server's control API"})
    xds: str = field(
        default="", metadata={"help": "host:port of the control API of an xds_server on another host, over mTLS"}
    )
    sds: Path | None = field(
        default=None, metadata={"help": "unix socket where certmgr serves our own identity, for what goes over mTLS"}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "address of /sd and /metrics, for Prometheus"})
    port: int = field(default=names.TELEMETRY_PORT, metadata={"help": "port of /sd and /metrics; 0 takes a free one"})
    components: str = field(
        default="", metadata={"help": "metrics of our other services: xds_server=127.0.0.1:15011,certmgr=…"}
    )
    host_control: Path | None = field(
        default=None, metadata={"help": "unix socket of legation up, which starts and ends instances by their load"}
    )
    compose_files: str = field(
        default="",
        metadata={"help": "docker compose files, with colons between them, whose services are scaled: a.yaml:b.yaml"},
    )
    autoscale_interval: float = field(default=5.0, metadata={"help": "seconds between two looks at the load"})

    state: Path | None = field(
        default=None, metadata={"help": "the mesh's state folder on this host: its apps' output is read there"}
    )
    logs_socket: Path | None = field(
        default=None, metadata={"help": "unix socket that proxies send their access logs to; by default the folder's"}
    )
    syslog: str = field(
        default="", metadata={"help": "host:port, over UDP, where docker's log driver syslog sends what apps write"}
    )
    listen: str = field(
        default="",
        metadata={
            "help": "this host's address and a port, for telemetry of other hosts, over mTLS: it asks there for the "
            "metrics of this host's sidecars, and sends its log; the port is the same on each host"
        },
    )
    logs_to: str = field(
        default="", metadata={"help": "host:port of a telemetry that this host's log goes to, over mTLS"}
    )

    def check(self) -> None:
        """Raise ValueError where the words make no sense together."""
        if bool(self.xds) == (self.xds_control != NOWHERE):
            raise ValueError("either --xds-control, of an xds_server on this host, or --xds HOST:PORT of another's")
        for word, value in (("xds", self.xds), ("listen", self.listen), ("logs-to", self.logs_to)):
            if value:
                self._check_place(word, value)
        if self.logs_to and self.state is None:
            raise ValueError("without --state no log is kept here, to be sent")

    def _check_place(self, word: str, value: str) -> None:
        try:
            host_port.split(value)
        except ValueError as error:
            raise ValueError(f"--{word} {error}") from error
        if self.sds is None:
            raise ValueError(f"--{word} {value} needs --sds SOCKET with the identity to go there with")

    def component_addresses(self) -> Mapping[str, str]:
        """Return name: host:port of `components`; ValueError when an entry has another form."""
        found = {}
        for entry in filter(None, self.components.split(",")):
            name, equals, at = entry.partition("=")
            if not (name and equals):
                raise ValueError(f"components: {entry!r} is not of the form name=host:port")
            try:
                host_port.split(at)
            except ValueError as error:
                raise ValueError(f"components: {entry!r} is not of the form name=host:port") from error
            found[name] = at
        return found
