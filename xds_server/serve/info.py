"""Who opens a stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Who opens a stream: its first request's node, and what TLS proved (None on a plaintext socket).

    `service` is `ads`, `cds`, `eds`, `lds`, `rds`, `sds` or `hds`. `serial` is the client
    certificate's, lower-case hex, and `expires` its end: the stream's too. `features` are the client
    features that the node names, `extensions` those that it was built with, `version` its (major, minor).
    """

    service: str
    node_id: str
    metadata: Mapping[str, object]
    peer: str | None
    serial: str | None
    cluster: str = ""
    features: frozenset[str] = frozenset()
    expires: datetime | None = None
    extensions: frozenset[str] = frozenset()
    version: tuple[int, int] | None = None
