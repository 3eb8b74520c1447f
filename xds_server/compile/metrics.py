"""The listener that Prometheus reads: two paths of the admin interface, and nothing else of it."""

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.metrics.v3.stats_pb2 import HistogramBucketSettings, StatsConfig
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh import names
from xds_server.compile.http import SERVER_NAME, network_filter, router
from xds_server.compile.listener import listener, shared

METRICS = "metrics"
PATHS = ("/ready", "/stats/prometheus")
"""All that leaves an Envoy's admin interface over TCP; the rest of it could stop the proxy."""

LATENCY_BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2500, 5000, 10000)
"""Milliseconds. Envoy's own leave a gap from 250 to 500, which ruins every high quantile of a web service."""


def metrics_listener(address: str, port: int) -> Listener:
    """Return the listener: GET of `PATHS`, 404 for everything else."""
    manager = HttpConnectionManager(
        codec_type=HttpConnectionManager.CodecType.AUTO,
        stat_prefix=METRICS,
        route_config=_routes(),
        http_filters=[router()],
        server_name=SERVER_NAME,
    )
    plain = shared(FilterChain(filters=[network_filter(manager)]), METRICS, "INBOUND")
    return Listener.FromString(listener(METRICS, (address, port), plain))


def stats_config() -> StatsConfig:
    """Return the histogram buckets of every request time."""
    match = StringMatcher(suffix="rq_time")
    return StatsConfig(histogram_bucket_settings=[HistogramBucketSettings(match=match, buckets=LATENCY_BUCKETS_MS)])


def _routes() -> RouteConfiguration:
    get = components.HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))
    allowed = [
        components.Route(
            name=path,
            match=components.RouteMatch(path=path, headers=[get]),
            route=components.RouteAction(cluster=names.ADMIN_CLUSTER),
        )
        for path in PATHS
    ]
    missing = DataSource(inline_string=f"only GET {' and '.join(PATHS)} are served here\n")
    rest = components.Route(
        name="rest",
        match=components.RouteMatch(prefix="/"),
        direct_response=components.DirectResponseAction(status=404, body=missing),
    )
    host = components.VirtualHost(name=METRICS, domains=["*"], routes=[*allowed, rest])
    return RouteConfiguration(name=METRICS, virtual_hosts=[host])
