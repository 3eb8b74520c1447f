"""What a node gets, whole, as one static file: so that a stock Envoy proves it, or runs it, without a server.

Routes are inlined, EDS clusters get their assignment, and secrets are in it: an Envoy has an inotify instance for each
file that it follows, and a user has 128 in all.
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
from envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import CaresDnsResolverConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse, ParseDict
from google.protobuf.message import Message

from xds_server import snapshot as kinds
from xds_server.compile.address import tcp
from xds_server.prove.rendition import as_static, inline
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
    """Return the bootstrap with all of the snapshot in it; secrets are those of `secrets`/<name>.json.

    Endpoints are in it too, or in the files of a folder, where they may change.
    """
    proto = Parse(bootstrap, Bootstrap())
    proto.ClearField("dynamic_resources")
    proto.ClearField("hds_config")
    proto.static_resources.clusters.extend(protos(snapshot, kinds.CLUSTER).values())
    proto.static_resources.listeners.extend(protos(snapshot, kinds.LISTENER).values())
    routes, assignments = protos(snapshot, kinds.ROUTE), protos(snapshot, kinds.ENDPOINT)

    for listener in proto.static_resources.listeners:
        inline(listener, routes.__getitem__)
    for cluster in proto.static_resources.clusters:
        if endpoints is None:
            as_static(cluster, assignments.get(cluster.name))
        elif cluster.type == Cluster.DiscoveryType.EDS:
            cluster.eds_cluster_config.eds_config.CopyFrom(_file(endpoints / f"{cluster.name.replace('/', '_')}.json"))

    found: dict[str, Secret] = {}

    def read_secrets(message: Message) -> None:
        if isinstance(message, SdsSecretConfig):
            file = secrets / f"{message.name}.json"
            if (secret := _secret(file)) is None:
                message.sds_config.CopyFrom(_file(file))
                return
            message.ClearField("sds_config")
            found[message.name] = secret

    walk(proto, read_secrets)
    proto.static_resources.secrets.extend(found[name] for name in sorted(found))
    return MessageToJson(proto, preserving_proto_field_name=True)


def asking(bootstrap: str, port: int) -> str:
    """Return a bootstrap of an Envoy that asks for names at a port of 127.0.0.1."""
    proto = Parse(bootstrap, Bootstrap())
    config = CaresDnsResolverConfig(resolvers=[tcp("127.0.0.1", port)])
    proto.typed_dns_resolver_config.name = "envoy.network.dns_resolver.cares"
    proto.typed_dns_resolver_config.typed_config.Pack(config)
    return MessageToJson(proto, preserving_proto_field_name=True)


def _secret(file: Path) -> Secret | None:
    """Return the secret that a file has; None of one for which its Envoy is to wait."""
    for found in json.loads(file.read_text())["resources"]:
        packed, secret = ParseDict(found, Any()), Secret()
        packed.Unpack(secret)
        return secret
    return None


def _file(path: Path) -> ConfigSource:
    return ConfigSource(path_config_source=PathConfigSource(path=str(path)), resource_api_version=ApiVersion.V3)


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
