"""What stands in front of the routes to a called service, at its callers and at the gateway."""

from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh.model.service import Service
from xds_server.compile.fault import fault_filters
from xds_server.compile.pack import pack


def caller_filters(service: Service) -> tuple[HttpFilter, ...]:
    """Return the filters for a called service: for gRPC, what counts its statuses, then what its faults need.

    To HTTP a failed call is a 200. Methods are not told apart: their names are the client's to choose.
    """
    if service.protocol != "grpc":
        return fault_filters(service)
    config = FilterConfig(stats_for_all_methods=BoolValue(value=False))
    return (HttpFilter(name="envoy.filters.http.grpc_stats", typed_config=pack(config)), *fault_filters(service))
