"""`health_check` to what a sidecar's Envoy is asked to check over HDS: its own app."""

from collections.abc import Sequence
from datetime import timedelta

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint
from envoy.extensions.health_check.event_sinks.file.v3.file_pb2 import HealthCheckEventFileSink
from envoy.service.health.v3.hds_pb2 import ClusterHealthCheck, HealthCheckSpecifier, LocalityEndpoints
from envoy.type.v3.http_pb2 import CodecClientType
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.active_health_check import ActiveHealthCheck
from legation.mesh.model.health_check import HealthCheck as Check
from legation.mesh.model.service import Service
from xds_server.compile.address import tcp
from xds_server.compile.older import GRPC_CHECKS
from xds_server.compile.pack import duration, pack

REPORT_INTERVAL = timedelta(seconds=1)


def specifier(node: InstanceSpec, service: Service | None) -> HealthCheckSpecifier:
    """Return what the node shall check; nothing for a service without a check, where others look at its app.

    Nor for apps behind a name, which HDS does not resolve: those its cluster checks, each by itself.
    """
    reports = duration(REPORT_INTERVAL)
    if service is None or node.by_name or (check := _asked(node, service)) is None:
        return HealthCheckSpecifier(interval=reports)
    if not node.standalone:
        _log_failures(check)
    app = Endpoint(address=tcp(node.app_address, node.app_port))
    checks = ClusterHealthCheck(
        cluster_name=names.CHECKED_APP,
        health_checks=[check],
        locality_endpoints=[LocalityEndpoints(endpoints=[app])],
    )
    return HealthCheckSpecifier(cluster_health_checks=[checks], interval=reports)


def named_checks(name: str, service: Service) -> Sequence[HealthCheck]:
    """Return how a node's own cluster checks the apps behind a name."""
    return () if service.health_check is None else (_check(name, service, service.health_check),)


def _asked(node: InstanceSpec, service: Service) -> HealthCheck | None:
    """Return the service's own check; for a standalone proxy at least whether its app listens."""
    if service.health_check is not None and service.protocol == "grpc" and GRPC_CHECKS.name in node.lacks:
        return _connects(paced(service.health_check))
    if service.health_check is not None:
        return _check(node.service, service, service.health_check)
    return _connects(paced(Check())) if node.standalone else None


def _log_failures(check: HealthCheck) -> None:
    """Have Envoy write what it finds to its stdout, which `legation run` keeps: a report of HDS says no reason."""
    sink = HealthCheckEventFileSink(event_log_path="/dev/stdout")
    check.event_logger.append(TypedExtensionConfig(name="envoy.health_check.event_sinks.file", typed_config=pack(sink)))
    check.always_log_health_check_failures = True


def _connects(proto: HealthCheck) -> HealthCheck:
    proto.tcp_health_check.CopyFrom(HealthCheck.TcpHealthCheck())
    return proto


def paced(check: Check | ActiveHealthCheck) -> HealthCheck:
    """Return when a check asks and what it makes of answers. The `no_traffic` intervals are 60 s by default."""
    interval = duration(check.interval)
    return HealthCheck(
        timeout=duration(check.timeout),
        interval=interval,
        no_traffic_interval=interval,
        no_traffic_healthy_interval=interval,
        unhealthy_threshold=UInt32Value(value=check.unhealthy_threshold),
        healthy_threshold=UInt32Value(value=check.healthy_threshold),
    )


def _check(name: str, service: Service, check: Check) -> HealthCheck:
    """Return the check of an app; HDS's clusters never have traffic."""
    proto = paced(check)
    # A kept connection would race the app's own idle timeout, and a race is no illness.
    proto.reuse_connection.CopyFrom(BoolValue(value=False))
    if service.protocol == "tcp":
        proto.tcp_health_check.CopyFrom(HealthCheck.TcpHealthCheck())
    elif check.path is None:
        proto.grpc_health_check.CopyFrom(HealthCheck.GrpcHealthCheck())
    else:
        codec = CodecClientType.HTTP2 if service.protocol == "http2" else CodecClientType.HTTP1
        proto.http_health_check.CopyFrom(
            HealthCheck.HttpHealthCheck(host=name, path=check.path, codec_client_type=codec)
        )
    return proto
