"""What xds_server is told at its start."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """xds_server: serves every Envoy its configuration, over mTLS."""

    listen: str = field(metadata={"help": "host:port for ADS and HDS, over mTLS"})
    control: Path = field(metadata={"help": "unix socket for the control API"})
    sds: Path = field(metadata={"help": "unix socket where certmgr serves our own identity"})
    database: Path = field(metadata={"help": "SQLite file of the registry"})
    metrics: str = field(metadata={"help": "host:port for GET /metrics"})
    control_address: str = field(
        default="",
        metadata={"help": "host:port of the control API over mTLS, for other hosts; without it there is none"},
    )
    reading: Path | None = field(
        default=None,
        metadata={"help": "unix socket of the control API for who may read and nothing else; without it there is none"},
    )
