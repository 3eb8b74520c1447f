"""Which gRPC methods there are, and what each is about."""

from functools import partial

import grpc

from xds_server.protocol.types import Limits
from xds_server.serve.session import Context, End, Handler, Streams, handler
from xds_server.serve.stream import Source, serve_delta
from xds_server.snapshot import SECRET

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SDS = "envoy.service.secret.v3.SecretDiscoveryService"


def discovery(source: Source, streams: Streams, limits: Limits) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the discovery services: all types on one stream, and secrets on their own."""

    async def aggregated(context: Context) -> None:
        await serve_delta(context, source, streams, limits, service="ads")

    async def secrets(context: Context) -> None:
        await serve_delta(context, source, streams, limits, service="sds", implied_type=SECRET)

    return (
        service(ADS, DeltaAggregatedResources=handler(aggregated), StreamAggregatedResources=_ONLY_DELTA),
        service(SDS, DeltaSecrets=handler(secrets), StreamSecrets=_ONLY_DELTA),
    )


def service(name: str, **methods: Handler) -> grpc.GenericRpcHandler:
    """Return a service of bidirectional streams of raw bytes."""
    return grpc.method_handlers_generic_handler(
        name, {method: grpc.stream_stream_rpc_method_handler(handle) for method, handle in methods.items()}
    )


async def _refuse(_: Context, details: str) -> None:
    """End a stream of a variant that is not served."""
    raise End(grpc.StatusCode.UNIMPLEMENTED, details)


_ONLY_DELTA = handler(
    partial(_refuse, details="state-of-the-world xDS is not served: use the delta variant (api_type: DELTA_GRPC)")
)
