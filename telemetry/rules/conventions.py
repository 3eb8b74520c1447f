"""Every name that our PromQL uses, once: labels, Envoy's metrics, recorded series, groups, selectors.

Recorded series are named `level:metric:operations` (Prometheus documentation, recording rules).
Envoy's names are those that a stock 1.40 prints at `/stats/prometheus`.
"""

import hashlib

from legation.mesh import names

MESH, SERVICE, VERSION, INSTANCE, ZONE, COMPONENT = "mesh", "service", "version", "instance", "zone", "component"
"""Labels of targets, given by discovery: sidecars have all but `component`; our own services `mesh` and `component`."""

SOURCE, DESTINATION = "source", "destination"
"""Labels of an edge: who called whom."""

INSTANCE_ID = "instance_id"
"""How telemetry names the instance that it speaks of; `instance` is telemetry itself."""

OBJECTIVE = "slo"
"""Which objective of a service: `availability` or `latency`."""

PREFIX = "envoy_http_conn_manager_prefix"
CLASS = "envoy_response_code_class"
CLUSTER = "envoy_cluster_name"
CERTIFICATE = "envoy_tls_certificate"

RQ_XX = "envoy_http_downstream_rq_xx"
"""Zero-initialised for the classes 1 to 5, unlike `envoy_cluster_upstream_rq_xx`: errors are counted from the first."""

RQ_GIVEN_UP = "envoy_http_downstream_rq_given_up"
"""Requests that their caller gave up on: in no class, and in no latency. There from the first one only.

Ours (`xds_server.compile.apart`), as Envoy's `downstream_rq_rx_reset` has answered ones too: POSTs whose body was late.
"""

RQ_TIME = "envoy_http_downstream_rq_time_bucket"
RQ_ACTIVE = "envoy_http_downstream_rq_active"
GRPC_STATUS = "envoy_cluster_grpc_"
"""What names of counters of gRPC statuses begin with. There from the first hit only.

`GRPC_CALLS`, and of an Envoy before 1.40 one for each status: `envoy_cluster_grpc_14`.
"""
GRPC_CALLS = f"{GRPC_STATUS}status"
"""Calls that did not end in OK, ours (`xds_server.compile.apart`), by the label `GRPC_CODE`: a status's name."""
GRPC_CODE = "envoy_grpc_status"

GRPC_FAILURES = {
    2: "UNKNOWN",
    4: "DEADLINE_EXCEEDED",
    8: "RESOURCE_EXHAUSTED",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
}
"""The statuses that are the server's fault, as 5xx are (OpenTelemetry, gRPC conventions; and a full server)."""

GRPC_CLIENTS = {
    1: "CANCELLED",
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    16: "UNAUTHENTICATED",
}
"""Those that are the caller's, as 4xx are: shown, and no failure of the service."""

RBAC_DENIED = "envoy_http_rbac_denied"
NO_ROUTE = "envoy_http_no_route"
"""What apps asked for that mesh.yaml does not name."""
BLOCKED = f"{names.BLOCKED_STAT_PREFIX}|{names.shared_outbound_prefix('[0-9]+')}"
"""What it is counted under: on a host, and in containers."""
UPTIME = "envoy_server_uptime"
LISTENER_EXPIRY = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
CLUSTER_EXPIRY = "envoy_cluster_ssl_certificate_expiration_unix_time_seconds"
CONTROL_STREAMS = "envoy_cluster_upstream_rq_active"
"""Of xds_server's cluster: streams that are up. `envoy_control_plane_connected_state` flickers while xds_server hangs,
as each try to reach it counts for a moment."""

SERVICE_INFO = "mesh_service_info"
CALLER_INFO = "mesh_caller_info"
INSTANCE_HEALTHY = "mesh_instance_healthy"
INSTANCE_SYNCED = "mesh_instance_synced"
INSTANCE_REJECTS = "mesh_instance_rejects"
ENVOY_RESTARTS = "mesh_instance_envoy_restarts_total"
CPU_SECONDS = "mesh_instance_cpu_seconds_total"
DESIRED = "mesh_autoscale_instances_desired"
LEAST, MOST = "mesh_autoscale_instances_min", "mesh_autoscale_instances_max"
RATIO = "mesh_autoscale_target_ratio"
BLIND = "mesh_autoscale_blind"
CHANGES = "mesh_autoscale_changes_total"
CHANGE = "mesh_change_timestamp_seconds"
"""When something has changed, one series a change of the last day; not to be confused with autoscaling's counter."""
WATCH_CONNECTED = "telemetry_watch_connected"
"""What telemetry itself exports (`telemetry.metrics`)."""

ALERT, FIRING = "alertname", 'alertstate="firing"'
ALERTS, SINCE = "ALERTS", "ALERTS_FOR_STATE"
"""What Prometheus itself records of the alerts that are pending or fire: 1, and since when; nothing of all others."""

EDGE_REQUESTS = "edge:mesh_requests:rate5m"
EDGE_ERRORS = "edge:mesh_errors:rate5m"
REQUESTS = "service:mesh_requests:rate5m"
ERRORS = "service:mesh_errors:rate5m"
ERROR_RATIO = "service:mesh_errors:ratio_rate5m"
GIVEN_UP = "service:mesh_given_up:rate5m"
ATTEMPTS = "service:mesh_attempts:rate5m"
BUCKETS = "service:mesh_latency_bucket:rate5m"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCY = {name: f"service:mesh_latency_seconds:{name}_rate5m" for name in QUANTILES}
EXPIRY = "instance:mesh_certificate_expiry_seconds:min"
HEALTHY = "service:mesh_instances_healthy:sum"
BUDGET = "service:mesh_slo_budget:ratio"
BAD, TOTAL = "service:mesh_slo_bad:rate", "service:mesh_slo_total:rate"
BURN = "service:mesh_slo_burn:rate"
"""How many times faster than allowed the budget is spent; with a window behind it, as `rate1h`."""
BUDGET_LEFT = "service:mesh_slo_budget_left:ratio30d"
KNOWN_SINCE = "service:mesh_slo_since:timestamp_seconds"
"""Since when there are data of an objective: averages over a window know no more."""

OWN = "_.+"
"""Clusters of each proxy that are no service: its app (twice, if it is checked), xds_server, certmgr, its own admin."""

RUNBOOKS = f"http://127.0.0.1:{names.TELEMETRY_PORT}/runbooks"
"""Where telemetry itself serves the runbooks, unless another place is given."""

GRAFANA = "http://localhost:3000"
"""Where Grafana is unless another place is given: its own default."""

UID_LENGTH = 40
"""Grafana's limit."""


def selector(metric: str, mesh: str, *more: str) -> str:
    """Return a metric's selector for one mesh: `selector("up", "shop", 'x=""')` is `up{mesh="shop",x=""}`."""
    matchers = ",".join((f'{MESH}="{mesh}"', *more))
    return f"{metric}{{{matchers}}}"


def arriving(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of what reaches proxies: attempts at sidecars, and requests at the gateway."""
    return selector(metric, mesh, f'{PREFIX}=~"{names.INBOUND}|{names.gateway_stat_prefix(".+")}"', *more)


def inbound(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of the attempts that reach a service's own sidecars: retries count, each of them."""
    return selector(metric, mesh, f'{PREFIX}="{names.INBOUND}"', *more)


def calls(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of what callers, the gateway among them, get of the services that they call."""
    prefixes = f"{names.outbound_stat_prefix('[a-z0-9].*')}|{names.gateway_stat_prefix('[a-z0-9].*')}"
    return selector(metric, mesh, f'{PREFIX}=~"{prefixes}"', *more)


def outbound(metric: str, mesh: str, *more: str) -> str:
    """Return the selector of what goes out to other services."""
    return selector(metric, mesh, f'{CLUSTER}!~"{OWN}"', *more)


def dashboard_uid(mesh: str, name: str) -> str:
    """Return the stable uid of a dashboard, of at most 40 characters; a long name of a mesh is cut and hashed."""
    uid = f"{mesh}-{name}"
    if len(uid) <= UID_LENGTH:
        return uid
    digest = hashlib.sha256(mesh.encode()).hexdigest()[:8]
    return f"{mesh[: UID_LENGTH - len(name) - 10]}-{digest}-{name}"
