"""certmgr's settings."""

from dataclasses import dataclass, field
from pathlib import Path

from certmgr.issue.auth import Method
from certmgr.issue.vault import Address
from certmgr.store import Store
from legation.runtime import host_port
from legation.runtime.state import StateFolder

UNIX = "unix:"
"""How the address of a Vault begins that listens on a unix socket."""


def vault_at(address: str, ca: str) -> Address:
    """Return where a Vault is: `https://…`, or `unix:PATH`."""
    if address.startswith(UNIX):
        return Address(socket=address.removeprefix(UNIX))
    return Address(url=address, ca=ca)


@dataclass(frozen=True, slots=True)
class Settings:
    """Gives every Envoy of this host a short-lived identity out of Vault or OpenBao, and rotates it."""

    state: Path = field(metadata={"help": "the mesh's state folder on this host"})
    xds_control: str = field(default="", metadata={"help": "xds_server's control socket; default: the state folder's"})
    xds: str = field(
        default="", metadata={"help": "host:port of the control API of an xds_server on another host, over mTLS"}
    )
    trust_domain: str = field(default="", metadata={"help": "with --xds: the mesh's trust domain, before it is known"})
    identities: str = field(
        default="",
        metadata={"help": "services and components that run on this host (a,b,c); default: all"},
    )
    host: str = field(
        default="", metadata={"help": "what this host is called where a roll-over waits for it; default: its host name"}
    )
    vault_address: str = field(
        default="", metadata={"help": "https URL of your Vault, or unix:PATH; default: the embedded OpenBao"}
    )
    vault_ca: str = field(default="", metadata={"help": "file with the CA that Vault's own certificate is checked by"})
    vault_auth: str = field(
        default="approle", metadata={"help": "how this host logs in: approle, token, jwt, kubernetes or cert"}
    )
    vault_credentials: str = field(
        default="",
        metadata={
            "help": "file with what this host logs in with (docs/vault.md); default: the embedded OpenBao's, "
            "or with --vault-address none: then others put each identity's credentials in place"
        },
    )
    vault_auth_mount: str = field(default="", metadata={"help": "mount of that method; default: its name"})
    vault_auth_role: str = field(default="", metadata={"help": "role that this host logs in as; default: mesh-enrol"})
    sds: str = field(
        default="",
        metadata={"help": "folder with a folder an identity, each for a container: DIR/NAME/sds.sock; default: run/"},
    )
    revocation_poll: float = field(
        default=5.0, metadata={"help": "longest time in seconds until what was revoked in Vault is seen here"}
    )
    issues_per_second: float = field(
        default=50.0, metadata={"help": "certificates that this host asks Vault for in a second, at most"}
    )
    wire_look: float = field(
        default=30.0,
        metadata={"help": "seconds between two looks at which certificate each proxy here really shows; 0: none"},
    )
    retry_limit: float = field(default=300.0, metadata={"help": "longest back-off after a failure, in seconds"})
    metrics_address: str = field(default="", metadata={"help": "host:port for GET /metrics beside the control socket"})

    @property
    def folder(self) -> StateFolder:
        """Every path below the state folder."""
        return StateFolder(self.state)

    def sds_socket(self, name: str) -> Path:
        """Return where an identity is served."""
        return Path(self.sds) / name / "sds.sock" if self.sds else self.folder.sds(name)

    @property
    def xds_socket(self) -> Path:
        """xds_server's control socket."""
        return Path(self.xds_control) if self.xds_control else self.folder.control("xds_server")

    @property
    def vault(self) -> Address:
        """Where Vault is."""
        if self.vault_address:
            return vault_at(self.vault_address, self.vault_ca)
        return Address(socket=str(self.folder.bao_socket()))

    @property
    def chosen(self) -> frozenset[str]:
        """The identities that this host is to have; empty: all."""
        return frozenset(name.strip() for name in self.identities.split(",") if name.strip())

    def check(self) -> None:
        """Raise ValueError, with what would be accepted, when the settings make no sense together."""
        self.method(Store(self.folder.certmgr))
        if not self.xds:
            return
        if not self.trust_domain:
            raise ValueError("--xds HOST:PORT needs --trust-domain NAME, mesh.yaml's trust_domain")
        try:
            host_port.split(self.xds)
        except ValueError as error:
            raise ValueError(f"--xds {error} (xds_server's --control-address)") from error
        if not self.vault_address:
            raise ValueError("--xds HOST:PORT needs --vault-address URL: the hosts of a mesh share a Vault or OpenBao")

    def method(self, store: Store) -> Method | None:
        """Return how this host logs in; None when others enrol its identities. ValueError when that makes no sense."""
        if not self.vault_address:
            return Method("approle", store.host_file, "approle")
        if not self.vault_credentials and self.vault_auth == "approle":
            return None
        return Method.of(self.vault_auth, self.vault_credentials, self.vault_auth_mount, self.vault_auth_role)
