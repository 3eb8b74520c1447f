"""What one `legation run` is told: which instance it is, and where its host's services are."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from legation.mesh.instance import InstanceSpec
from legation.runtime.state import StateFolder


@dataclass(frozen=True, slots=True)
class RunSettings:
    """One instance. `command` is the app's program and arguments; empty for a sidecar alone.

    `spec` is completed at the start: its address is the first of `addresses` that nobody holds, its
    boot and the app's port are made, its outbound ports (but a gateway's) come from xds_server.
    `control` is host:port of the control API of an xds_server on another host, whose Envoys find it at `xds_host`;
    `advertise` is where other hosts reach this instance: an IP address, or that and a port.
    `supervised` says that the host that started us replaces this instance before it ends.

    In a container beside others there is no command: `app` is host:port of what it stands before, and `advertise`,
    `private`, `plain` and `metrics` are names that lead to us on one network each, or addresses of ours: towards the
    mesh, the app, callers outside of the mesh, and Prometheus. `sds` is certmgr's socket and `logs` telemetry's, where
    they are not the state folder's.
    """

    spec: InstanceSpec
    addresses: tuple[str, ...]
    xds_host: str
    xds_port: int
    root: Path
    envoy: Path
    command: tuple[str, ...] = ()
    folder: Path | None = None
    concurrency: int = 1
    supervised: bool = False
    control: str = ""
    advertise: str = ""
    beside: bool = False
    app: str = ""
    private: str = ""
    plain: tuple[str, ...] = ()
    metrics: str = ""
    sds: str = ""
    logs: str = ""

    @property
    def sds_socket(self) -> Path:
        """Where certmgr serves the service's identity."""
        return Path(self.sds) if self.sds else self.state.sds(self.spec.service)

    @property
    def logs_socket(self) -> str:
        """Where telemetry takes access logs; nothing where there is none beside us."""
        return self.logs or ("" if self.control else str(self.state.logs_socket))

    @property
    def state(self) -> StateFolder:
        """The state folder of the mesh."""
        return StateFolder(self.root)

    @property
    def files(self) -> Path:
        """Where this instance's bootstrap, logs and state are."""
        return self.state.instance(self.spec.id)

    def save(self) -> Path:
        """Write the settings where the instance's files are; return the file."""
        self.files.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.files / "run.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self, enc_hook=str)))
        return file

    @classmethod
    def read(cls, file: Path) -> "RunSettings":
        """Return saved settings."""
        return msgspec.json.decode(file.read_bytes(), type=cls, dec_hook=_path)


def _path(kind: type, value: object) -> object:
    if kind is Path or kind == Path | None:
        return Path(str(value))
    raise NotImplementedError(kind)
