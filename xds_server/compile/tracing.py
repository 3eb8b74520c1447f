"""`tracing` to Envoy: what each connection manager does about spans, and the cluster of their receiver.

One span a proxy and request: SERVER where a request comes in, CLIENT where an app's call goes out
(`spawn_upstream_span` would make a second one of each call, of the caller's own). With `mode: server` there is no
CLIENT span where a proxy of ours serves the call: what the app carries on is the parent of the SERVER span there.

A span is sampled when the connection manager decides so and the tracer's sampler does too (Envoy 1.40,
tests/xds_server/compile/test_tracing.py). Where a request enters the mesh the manager decides, by the mesh's share or
its route's, from its x-request-id. Behind, the sampler follows the span before, and managers have no say: there need be
no x-request-id, and routes are the same there and would decide anew.
"""

from collections.abc import Collection
from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.trace.v3.http_tracer_pb2 import Tracing as Tracers
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    RequestIDExtension,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.environment_resource_detector_pb2 import (
    EnvironmentResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3.parent_based_sampler_pb2 import ParentBasedSamplerConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.trace_id_ratio_based_sampler_pb2 import (
    TraceIdRatioBasedSamplerConfig,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.percent_pb2 import FractionalPercent, Percent
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Protocol
from legation.mesh.model.tracing import RouteTracing, Tracing
from xds_server.compile.circuit_breaker import BATCHES, thresholds
from xds_server.compile.cluster import HTTP_OPTIONS, http2
from xds_server.compile.outside import outside_cluster, verified
from xds_server.compile.pack import duration, pack

FROM_OUTSIDE = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-sampled", "x-client-trace-id")
"""Headers by which a client could have its requests traced, at our cost."""

_TIMEOUT = timedelta(seconds=1)
"""Of one batch of spans; what the receiver does not take in time is dropped."""

_NO_SAY = RequestIDExtension(
    typed_config=pack(UuidRequestIdConfig(use_request_id_for_trace_sampling=BoolValue(value=False)))
)
"""With it a manager leaves each request to the sampler, with an x-request-id or without, and leaves that as it is."""

_SAMPLERS = "envoy.tracers.opentelemetry.samplers"
_TAGS = {"legation.route": "%ROUTE_NAME%", "legation.attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}
_TAGS_INBOUND = {"legation.peer": "%DOWNSTREAM_PEER_URI_SAN%"}
"""Of each span what only its proxy knows: Envoy makes the tags of spans that are not sampled, too."""


def trace(
    manager: HttpConnectionManager,
    tracing: Tracing | None,
    service: str,
    operation: str,
    *,
    edge: bool = False,
    inbound: bool = False,
) -> None:
    """Have a manager make spans of `service`, called `operation` (Envoy's command operators are filled in).

    `edge`: it is where requests enter the mesh. `inbound`: it is in front of the app.
    """
    if tracing is None:
        return
    begins = edge and tracing.from_outside == "ignore"
    tracer, tags = _tracer(service), _TAGS_INBOUND if inbound else _TAGS
    if not begins:
        tracer.sampler.CopyFrom(_like_parent(tracing.sampling))
        manager.request_id_extension.CopyFrom(_NO_SAY)
    manager.tracing.CopyFrom(
        HttpConnectionManager.Tracing(
            client_sampling=Percent(value=0),
            random_sampling=Percent(value=tracing.sampling if begins else 100),
            custom_tags=[CustomTag(tag=tag, value=value) for tag, value in tags.items()],
            provider=Tracers.Http(name="envoy.tracers.opentelemetry", typed_config=pack(tracer)),
            spawn_upstream_span=BoolValue(value=False),
            operation=operation,
        )
    )


def of_calls(mesh: Mesh, called: Collection[str]) -> Tracing | None:
    """Return what a caller's manager is told of spans; `called` are behind it. None: it makes no spans."""
    return None if left_to_callees(mesh, called) else mesh.tracing


def left_to_callees(mesh: Mesh, called: Collection[str]) -> bool:
    """Say whether a caller's manager makes no spans, as the proxies of all that are called do."""
    return mesh.tracing is not None and mesh.tracing.mode == "server" and mesh.has_all(called)


def operation(protocol: Protocol, service: str) -> str:
    """Return what a span of a request to a service is called: its gRPC method, or its HTTP method and the service.

    Never an HTTP path: there is no end of those.
    """
    return "%PATH(NQ)%" if protocol == "grpc" else f"%REQ(:METHOD)% {service}"


def route_tracing(asked: RouteTracing) -> components.Tracing:
    """Return what a route has of its own, where a trace begins; a client has no say there."""
    return components.Tracing(
        client_sampling=FractionalPercent(numerator=0),
        random_sampling=_percentage(asked.sampling),
        overall_sampling=FractionalPercent(numerator=100),
    )


def receiver(tracing: Tracing) -> Cluster:
    """Return the cluster of the receiver of spans."""
    otlp = tracing.otlp
    tls = verified(otlp.host, otlp.ca, ("h2",)) if otlp.tls else None
    cluster = outside_cluster(names.TRACES_CLUSTER, otlp.host, otlp.port, tls)
    # nor may a name that is looked up in vain hold up its start: 10 s in docker, where nobody has it
    cluster.wait_for_warm_on_init.CopyFrom(BoolValue(value=False))
    # a receiver that hangs may hold up no more than this of a proxy's memory
    cluster.circuit_breakers.CopyFrom(thresholds(BATCHES))
    cluster.alt_stat_name = names.own_stat_name("traces")
    options = HttpProtocolOptions(explicit_http_config=http2())
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(options))
    return cluster


def _like_parent(share: float) -> TypedExtensionConfig:
    """Return the sampler that does as the span before did; without one it samples a share of all requests."""
    ratio = TraceIdRatioBasedSamplerConfig(sampling_percentage=_percentage(share))
    root = TypedExtensionConfig(name=f"{_SAMPLERS}.trace_id_ratio_based", typed_config=pack(ratio))
    parent_based = pack(ParentBasedSamplerConfig(wrapped_sampler=root))
    return TypedExtensionConfig(name=f"{_SAMPLERS}.parent_based", typed_config=parent_based)


def _percentage(share: float) -> FractionalPercent:
    return FractionalPercent(numerator=round(share * 100), denominator=FractionalPercent.DenominatorType.TEN_THOUSAND)


def _tracer(service: str) -> OpenTelemetryConfig:
    """Return the tracer; what is a node's own (its instance, its version) comes from its environment."""
    envoy_grpc = GrpcService.EnvoyGrpc(cluster_name=names.TRACES_CLUSTER)
    detector = TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.resource_detectors.environment",
        typed_config=pack(EnvironmentResourceDetectorConfig()),
    )
    return OpenTelemetryConfig(
        grpc_service=GrpcService(envoy_grpc=envoy_grpc, timeout=duration(_TIMEOUT)),
        service_name=service,
        resource_detectors=[detector],
    )
