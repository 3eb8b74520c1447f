"""certmgr's settings."""

from dataclasses import dataclass, field
from pathlib import Path

from certmgr.issue.vault import Address
from certmgr.store import Store
from legation.runtime.state import StateFolder


@dataclass(frozen=True, slots=True)
class Settings:
    """Gives every Envoy of this host a short-lived identity out of Vault or OpenBao, and rotates it."""

    state: Path = field(metadata={"help": "the mesh's state folder on this host"})
    xds_control: str = field(default="", metadata={"help": "xds_server's control socket; default: the state folder's"})
    vault_address: str = field(default="", metadata={"help": "https URL of your Vault; default: the embedded OpenBao"})
    vault_ca: str = field(default="", metadata={"help": "file with the CA that Vault's own certificate is checked by"})
    vault_credentials: str = field(
        default="",
        metadata={
            "help": "JSON file with role_id and secret_id of this host's AppRole (legation certs init writes it); "
            "default: the embedded OpenBao's, or with --vault-address none: others enrol the identities"
        },
    )
    retry_limit: float = field(default=300.0, metadata={"help": "longest back-off after a failure, in seconds"})
    metrics_address: str = field(default="", metadata={"help": "host:port for GET /metrics beside the control socket"})

    @property
    def folder(self) -> StateFolder:
        """Every path below the state folder."""
        return StateFolder(self.state)

    @property
    def xds_socket(self) -> Path:
        """xds_server's control socket."""
        return Path(self.xds_control) if self.xds_control else self.folder.control("xds_server")

    @property
    def vault(self) -> Address:
        """Where Vault is."""
        if self.vault_address:
            return Address(url=self.vault_address, ca=self.vault_ca)
        return Address(socket=str(self.folder.bao_socket))

    def host_credentials(self, store: Store) -> Path | None:
        """Return the file with the host's AppRole; None when others enrol the identities."""
        if self.vault_credentials:
            return Path(self.vault_credentials)
        return None if self.vault_address else store.host_file
