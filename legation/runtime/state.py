"""Where a mesh keeps its state on a host, and where its sockets are. Every path, once."""

import hashlib
import os
import pwd
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_SOCKET_LIMIT = 107
"""Bytes of a unix socket's path that fit into sockaddr_un (unix(7))."""

_SOCKET_ROOM = 64
"""Bytes kept for `/run/admin-<instance>.sock`; an instance whose own name is longer cannot start."""


class UnusableFolder(Exception):
    """A folder that cannot be made, or that another user could write to; the text says what to do."""


def default_root(environ: Mapping[str, str]) -> Path:
    """Return the folder that holds the state of all meshes of this user (XDG base directories)."""
    named = Path(environ.get("XDG_STATE_HOME", ""))
    # the specification has relative paths ignored
    return (named if named.is_absolute() else _home(environ) / ".local" / "state") / "legation"


def _home(environ: Mapping[str, str]) -> Path:
    """Return this user's home, which cron and systemd need not name."""
    try:
        return Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")


class StateFolder:
    """The state of one mesh on this host."""

    OWNER = "root"
    """The file in a sockets' folder elsewhere that names the state folder."""

    def __init__(self, root: Path) -> None:
        """Name the folder; nothing is made yet."""
        self.root = root.absolute()
        self.run = self._run_folder()

    def make(self) -> None:
        """Make the folders, for this user alone; UnusableFolder when that cannot be, or another user owns one."""
        for folder in (self.root, self.run, self.logs, self.instances, self.root / "xds_server", self.certmgr):
            try:
                _make(folder)
            except OSError as error:
                raise UnusableFolder(f"{folder}: {error.strerror}: choose another folder with --state DIR") from error
        if self.run.parent != self.root:
            (self.run / self.OWNER).touch(0o600)
            (self.run / self.OWNER).write_text(str(self.root))

    def short_folders(self) -> Iterator[Path]:
        """Yield the folders of sockets elsewhere that are this user's, of whatever mesh."""
        for folder in Path(tempfile.gettempdir()).glob(_short("*")):
            with suppress(OSError):
                found = folder.lstat()
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                    yield folder

    @property
    def option(self) -> str:
        """What a command takes to find this mesh: ` --state DIR`; nothing where it looks by itself."""
        return "" if self.root.parent == default_root(os.environ) else f" --state {shlex.quote(str(self.root))}"

    @property
    def logs(self) -> Path:
        """What our own services say."""
        return self.root / "logs"

    @property
    def instances(self) -> Path:
        """One folder an instance."""
        return self.root / "instances"

    def openbao(self, number: int = 1) -> Path:
        """Return the folder of an embedded OpenBao: `openbao`, `openbao-2` and so on."""
        return self.root / ("openbao" if number == 1 else f"openbao-{number}")

    @property
    def certmgr(self) -> Path:
        """Where certmgr keeps bundles and credentials."""
        return self.root / "certmgr"

    @property
    def telemetry(self) -> Path:
        """Where telemetry keeps the mesh's log."""
        return self.root / "telemetry"

    @property
    def database(self) -> Path:
        """xds_server's registry."""
        return self.root / "xds_server" / "registry.sqlite"

    @property
    def host_file(self) -> Path:
        """What `legation run` and the command need to know of the running mesh (`HostFile`)."""
        return self.root / "host.json"

    @property
    def ready(self) -> Path:
        """There while callers have the address of the one instance of this container."""
        return self.root / "ready"

    def instance(self, instance: str) -> Path:
        """Return the folder of an instance: bootstrap, logs, `state.json`."""
        return self.instances / instance

    def control(self, component: str) -> Path:
        """Return the control socket of host, xds_server, certmgr or telemetry."""
        return self.run / f"{component}.sock"

    def sds(self, name: str) -> Path:
        """Return the SDS socket of an identity."""
        return self.run / f"sds-{name}.sock"

    def admin(self, instance: str) -> Path:
        """Return the socket of an Envoy's admin interface."""
        return self.run / f"admin-{instance}.sock"

    @property
    def logs_socket(self) -> Path:
        """Where telemetry takes the records of this host's proxies."""
        return self.run / "logs.sock"

    def bao_socket(self, number: int = 1) -> Path:
        """Return the API of an embedded OpenBao."""
        return self.run / f"{self.openbao(number).name}.sock"

    def _run_folder(self) -> Path:
        """Return the sockets' folder: below the state folder, or a short one where that is too long for a socket."""
        if len(str(self.root)) + _SOCKET_ROOM <= _SOCKET_LIMIT:
            return self.root / "run"
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / _short(digest)


def _short(digest: str) -> str:
    return f"legation-{os.getuid()}-{digest}"


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise UnusableFolder(f"{folder} belongs to another user: remove it, or choose another with --state DIR")
    folder.chmod(stat.S_IRWXU)
