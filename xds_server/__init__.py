"""xds_server: tells every Envoy what to route where.

As a library (docs/library.md): give it snapshots of Envoy protos by node, serve them, and see who has
ACKed and who NACKs. What is exported here keeps its meaning within a major version; all else may change.
"""

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from xds_server.cache import SnapshotCache
from xds_server.protocol.types import Acked, Acknowledged, Effect, Limits, Nacked, Send, Stale, Subscribed
from xds_server.serve.followers import NotConverged, Unsynced
from xds_server.serve.hds import AdmittedHealth, HealthSource
from xds_server.serve.info import StreamInfo
from xds_server.serve.server import Server, serve
from xds_server.serve.session import Rejected
from xds_server.serve.stream import Admitted, Source
from xds_server.snapshot import Resource, Snapshot

__all__ = [
    "Acked",
    "Acknowledged",
    "Admitted",
    "AdmittedHealth",
    "Effect",
    "HealthSource",
    "Identity",
    "Latest",
    "Limits",
    "Nacked",
    "NotConverged",
    "Rejected",
    "Resource",
    "Send",
    "Server",
    "Snapshot",
    "SnapshotCache",
    "Source",
    "Stale",
    "StreamInfo",
    "Subscribed",
    "Unsynced",
    "serve",
]
