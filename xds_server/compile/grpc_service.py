"""How Envoy talks to our own gRPC servers: which cluster, and how soon it tries again when a stream breaks."""

from datetime import timedelta

from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.core.v3.base_pb2 import RetryPolicy
from envoy.config.core.v3.grpc_service_pb2 import GrpcService

from xds_server.compile.pack import duration

RECONNECT_BASE = timedelta(milliseconds=200)
RECONNECT_MAX = timedelta(seconds=2)
"""Streams are back in 2 s after a restart of the server; Envoy's own default takes up to 30 s."""


def grpc_service(cluster: str) -> GrpcService:
    """Return the gRPC service behind a static cluster of the bootstrap."""
    back_off = BackoffStrategy(base_interval=duration(RECONNECT_BASE), max_interval=duration(RECONNECT_MAX))
    return GrpcService(
        envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=cluster, retry_policy=RetryPolicy(retry_back_off=back_off))
    )
