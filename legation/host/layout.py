"""Where everything of one mesh is on this host: a value, written once so that the command and `run` find it."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from legation.mesh import names
from legation.mesh.desired import Exposed


class HostFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `host.json`: what a mesh that runs here has taken. Removed when it ends."""

    mesh: str
    file: str
    pid: int
    block: int
    gateway_ports: dict[str, int] = {}

    @property
    def address(self) -> str:
        """The loopback address of our own services."""
        return names.loopback_address(self.block, names.HOST_SLOT)

    @property
    def xds(self) -> str:
        """Where xds_server listens for Envoys."""
        return f"{self.address}:{names.XDS_PORT}"

    @property
    def xds_metrics(self) -> str:
        """Where xds_server's own metrics are."""
        return f"{self.address}:{names.XDS_METRICS_PORT}"

    @property
    def certmgr_metrics(self) -> str:
        """Where certmgr's own metrics are."""
        return f"{self.address}:{names.CERTMGR_METRICS_PORT}"

    @property
    def telemetry(self) -> str:
        """Where telemetry answers Prometheus."""
        return f"{self.address}:{names.TELEMETRY_PORT}"

    @classmethod
    def read(cls, path: Path) -> "HostFile | None":
        """Return the file's content, or None where there is none (any more)."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        fresh.replace(path)


def gateway_url(exposed: Iterable[Exposed], ports: dict[str, int]) -> str | None:
    """Return the URL of the first exposed service, or None when none is."""
    for expose in exposed:
        address = "127.0.0.1" if expose.address == "0.0.0.0" else expose.address  # noqa: S104
        return f"{expose.scheme}://{expose.host or address}:{ports.get(expose.service, expose.port)}/"
    return None
