"""Which gRPC methods there are, and what each is about."""

from collections.abc import Iterator

import grpc

from xds_server.protocol.types import Limits
from xds_server.serve.session import Context, Handler, Streams, handler
from xds_server.serve.stream import DELTA, SOTW, Source, Variant, serve_stream
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CDS = "envoy.service.cluster.v3.ClusterDiscoveryService"
EDS = "envoy.service.endpoint.v3.EndpointDiscoveryService"
LDS = "envoy.service.listener.v3.ListenerDiscoveryService"
RDS = "envoy.service.route.v3.RouteDiscoveryService"
SDS = "envoy.service.secret.v3.SecretDiscoveryService"

SERVICES = (
    ("ads", ADS, "AggregatedResources", ""),
    ("cds", CDS, "Clusters", CLUSTER),
    ("eds", EDS, "Endpoints", ENDPOINT),
    ("lds", LDS, "Listeners", LISTENER),
    ("rds", RDS, "Routes", ROUTE),
    ("sds", SDS, "Secrets", SECRET),
)
"""Each with its name, what its two methods end with, and the type that is implied on its streams ("": none)."""


def discovery(source: Source, streams: Streams, limits: Limits) -> Iterator[grpc.GenericRpcHandler]:
    """Yield the discovery services: all types on one stream, and each on its own; state of the world, and delta."""
    for short, name, what, type_url in SERVICES:

        def serving(variant: Variant, short: str = short, type_url: str = type_url) -> Handler:
            async def converse(context: Context) -> None:
                await serve_stream(context, source, streams, limits, variant, service=short, implied_type=type_url)

            return handler(converse)

        yield service(name, **{f"Stream{what}": serving(SOTW), f"Delta{what}": serving(DELTA)})


def service(name: str, **methods: Handler) -> grpc.GenericRpcHandler:
    """Return a service of bidirectional streams of raw bytes."""
    return grpc.method_handlers_generic_handler(
        name, {method: grpc.stream_stream_rpc_method_handler(handle) for method, handle in methods.items()}
    )
