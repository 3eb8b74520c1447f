"""What a node gets, as one static file: so that a stock Envoy proves it, or runs it, without a server.

Routes are inlined, EDS clusters get their assignment, SDS is read from files.
"""

import json
from collections.abc import Callable
from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource, PathConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse
from google.protobuf.message import Message

from xds_server import snapshot as kinds
from xds_server.snapshot import Snapshot

PROTOS = {
    kinds.CLUSTER: Cluster,
    kinds.ENDPOINT: ClusterLoadAssignment,
    kinds.LISTENER: Listener,
    kinds.ROUTE: RouteConfiguration,
}


def protos(snapshot: Snapshot, kind: str) -> dict[str, Message]:
    return {name: PROTOS[kind].FromString(r.body) for name, r in sorted(snapshot.of_type(kind).items())}


def as_dict(message: Message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True)


def write_assignments(snapshot: Snapshot, folder: Path) -> None:
    """Write each assignment as a file that Envoy watches: it takes what is moved there."""
    folder.mkdir(exist_ok=True)
    for name, proto in protos(snapshot, kinds.ENDPOINT).items():
        file = folder / f"{name.replace('/', '_')}.json"
        packed = Any()
        packed.Pack(proto, deterministic=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": [MessageToDict(packed, preserving_proto_field_name=True)]}))
        fresh.rename(file)


def static_file(bootstrap: str, snapshot: Snapshot, secrets: Path, endpoints: Path | None = None) -> str:
    """Return the bootstrap with all of the snapshot in it; SDS secrets are `secrets`/<name>.json.

    Endpoints are in it too, or in the files of a folder, where they may change.
    """
    proto = Parse(bootstrap, Bootstrap())
    proto.ClearField("dynamic_resources")
    proto.ClearField("hds_config")
    proto.static_resources.clusters.extend(protos(snapshot, kinds.CLUSTER).values())
    proto.static_resources.listeners.extend(protos(snapshot, kinds.LISTENER).values())
    routes, assignments = protos(snapshot, kinds.ROUTE), protos(snapshot, kinds.ENDPOINT)

    def inline(message: Message) -> None:
        if isinstance(message, HttpConnectionManager) and message.HasField("rds"):
            message.route_config.CopyFrom(routes[message.rds.route_config_name])
        elif isinstance(message, Cluster) and message.type == Cluster.DiscoveryType.EDS and endpoints is not None:
            file = endpoints / f"{message.name.replace('/', '_')}.json"
            watched = PathConfigSource(path=str(file))
            source = ConfigSource(path_config_source=watched, resource_api_version=ApiVersion.V3)
            message.eds_cluster_config.eds_config.CopyFrom(source)
        elif isinstance(message, Cluster) and message.type == Cluster.DiscoveryType.EDS:
            message.type = Cluster.DiscoveryType.STATIC
            message.ClearField("eds_cluster_config")
            message.load_assignment.CopyFrom(assignments[message.name])
        elif isinstance(message, SdsSecretConfig):
            source = PathConfigSource(path=str(secrets / f"{message.name}.json"))
            message.sds_config.CopyFrom(ConfigSource(path_config_source=source, resource_api_version=ApiVersion.V3))

    walk(proto, inline)
    return MessageToJson(proto, preserving_proto_field_name=True)


def walk(message: Message, visit: Callable[[Message], None]) -> None:
    """Visit a message and all in it, through Any too; what `visit` changes stays changed."""
    if isinstance(message, Any):
        inner = symbol_database.Default().GetSymbol(message.TypeName())()
        message.Unpack(inner)
        walk(inner, visit)
        message.Pack(inner, deterministic=True)
        return
    visit(message)
    for field, value in message.ListFields():
        for part in _messages(field, value):
            walk(part, visit)


def _messages(field, value) -> list[Message]:
    if field.message_type is None:
        return []
    if field.message_type.GetOptions().map_entry:
        return [v for v in value.values() if isinstance(v, Message)]
    return list(value) if field.is_repeated else [value]
