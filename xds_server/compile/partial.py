"""Bootstraps with a part of what is here, for Envoys that teams configure themselves: certificates, or telemetry."""

from dataclasses import replace

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.json_format import MessageToJson, Parse

from legation.mesh import names
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.bootstrap import BootstrapInput, bootstrap
from xds_server.compile.compiler import Compiler
from xds_server.compile.older import OTLP_LOG
from xds_server.compile.pack import pack
from xds_server.snapshot import Snapshot


def telemetry_alone(given: BootstrapInput) -> str:
    """Return a bootstrap that counts what our rules and dashboards read, in their buckets, for Prometheus."""
    return _text(_without_xds(given, names.ADMIN_CLUSTER))


def certificates_alone(given: BootstrapInput, mesh: SourcedMesh) -> str:
    """Return a bootstrap whose listener takes callers by the mesh's certificates, as `calls` says, to the app.

    It is all in the file; certmgr's socket is the only thing of ours that it asks.
    """
    found = _without_xds(given, names.SDS_CLUSTER, names.ADMIN_CLUSTER)
    # the log goes to stdout: telemetry's socket is no part of it
    node = replace(given.node, lacks=(*given.node.lacks, OTLP_LOG.name))
    snapshot = Compiler(mesh).snapshot(node, {})
    listener = Listener.FromString(_body(snapshot, kinds.LISTENER, names.INBOUND))
    if names.INBOUND in snapshot.of_type(kinds.ROUTE):
        _inline(listener, RouteConfiguration.FromString(_body(snapshot, kinds.ROUTE, names.INBOUND)))
    found.static_resources.listeners.append(listener)
    found.static_resources.clusters.append(Cluster.FromString(_body(snapshot, kinds.CLUSTER, names.LOCAL_APP)))
    return _text(found)


def _body(snapshot: Snapshot, kind: str, name: str) -> bytes:
    return b"".join(snapshot.of_type(kind)[name].parts)


def _inline(listener: Listener, routes: RouteConfiguration) -> None:
    """Have a listener know its routes, where it would ask for them."""
    for chain in listener.filter_chains:
        for one in chain.filters:
            manager = HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                manager.route_config.CopyFrom(routes)
                one.typed_config.CopyFrom(pack(manager))


def _without_xds(given: BootstrapInput, *clusters: str) -> Bootstrap:
    """Return a bootstrap that asks xds_server for nothing, with these of its clusters."""
    found = Parse(bootstrap(given), Bootstrap())
    for field in ("dynamic_resources", "hds_config"):
        found.ClearField(field)
    kept = [cluster for cluster in found.static_resources.clusters if cluster.name in clusters]
    del found.static_resources.clusters[:]
    found.static_resources.clusters.extend(kept)
    return found


def _text(found: Bootstrap) -> str:
    return MessageToJson(found, preserving_proto_field_name=True, sort_keys=True, indent=2) + "\n"
