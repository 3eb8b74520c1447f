"""Health discovery: each Envoy checks its own app as we specify, and reports what it finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import grpc
from envoy.config.core.v3.health_check_pb2 import DEGRADED, HEALTHY, UNKNOWN
from envoy.service.health.v3.hds_pb2 import EndpointHealthResponse, HealthCheckRequestOrEndpointHealthResponse
from google.protobuf.message import DecodeError

from legation.runtime.tasks import Latest
from xds_server.serve.codec import Malformed
from xds_server.serve.info import StreamInfo
from xds_server.serve.servicers import service
from xds_server.serve.session import Context, Streams, Writer, first, handler, read, run, stream_info

HDS = "envoy.service.health.v3.HealthDiscoveryService"


@dataclass(frozen=True, slots=True)
class AdmittedHealth:
    """A stream that the consumer took: a key of its choice, and what to check (serialised HealthCheckSpecifiers)."""

    key: int
    specifiers: Latest[bytes]


class HealthSource(Protocol):
    """What health streams need from whoever keeps the health of instances."""

    async def admit_health(self, info: StreamInfo) -> AdmittedHealth:
        """Take a stream, or raise Rejected with the reason."""
        ...

    def health(self, stream: AdmittedHealth, healthy: bool | None) -> None:
        """See each report: whether the sidecar's app is healthy; None when its Envoy does not know."""
        ...

    def health_closed(self, stream: AdmittedHealth) -> None:
        """See the end of a stream that was admitted: exactly once for each."""
        ...


def health_discovery(source: HealthSource, streams: Streams) -> grpc.GenericRpcHandler:
    """Return the health discovery service."""

    async def converse(context: Context) -> None:
        await _serve_health(context, source, streams)

    return service(HDS, StreamHealthCheck=handler(converse))


async def _serve_health(context: Context, source: HealthSource, streams: Streams) -> None:
    """Serve one health stream: specifiers out as they change, reports in."""
    request = _decode(await first(context))
    with streams.one():
        info, writer = stream_info(context, "hds", request.health_check_request.node), Writer(context)
        stream = await source.admit_health(info)
        try:
            await run(streams, info, writer, report=_report(context, source, stream), specify=_specify(writer, stream))
        finally:
            source.health_closed(stream)


async def _report(context: Context, source: HealthSource, stream: AdmittedHealth) -> None:
    """Pass every report on."""
    while True:
        message = _decode(await read(context))
        if message.HasField("endpoint_health_response"):
            source.health(stream, _healthy(message.endpoint_health_response))


async def _specify(writer: Writer, stream: AdmittedHealth) -> None:
    """Write each newer specifier."""
    async for specifier in stream.specifiers.watch():
        await writer.write(specifier)


def _decode(data: bytes) -> HealthCheckRequestOrEndpointHealthResponse:
    try:
        return HealthCheckRequestOrEndpointHealthResponse.FromString(data)
    except DecodeError as error:
        raise Malformed("the message is not a HealthCheckRequestOrEndpointHealthResponse") from error


def _healthy(report: EndpointHealthResponse) -> bool | None:
    """Return whether all endpoints that Envoy knows about are healthy; None when it knows of none.

    Envoy fills both the flat list (deprecated) and the one by cluster with the same endpoints.
    """
    return _all_healthy(
        endpoint.health_status
        for endpoint in (
            *report.endpoints_health,
            *(
                endpoint
                for cluster in report.cluster_endpoints_health
                for locality in cluster.locality_endpoints_health
                for endpoint in locality.endpoints_health
            ),
        )
    )


def _all_healthy(statuses: Iterable[int]) -> bool | None:
    known = [status for status in statuses if status != UNKNOWN]
    return all(status in (HEALTHY, DEGRADED) for status in known) if known else None
