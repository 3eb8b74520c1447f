"""The listener that Prometheus reads: two paths of the admin interface, and nothing else of it."""

from datetime import timedelta

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.metrics.v3.stats_pb2 import HistogramBucketSettings, StatsConfig, StatsMatcher
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher

from legation.mesh import names
from legation.mesh.model.slo import LATENCY_BUCKETS
from xds_server.compile.http import SERVER_NAME, network_filter, router
from xds_server.compile.inclusion import INCLUDED
from xds_server.compile.listener import listener, shared

METRICS = "metrics"
MILLISECOND = timedelta(milliseconds=1)
PATHS = ("/ready", "/stats/prometheus")
"""All that leaves an Envoy's admin interface over TCP; the rest of it could stop the proxy."""


def metrics_listener(address: str, port: int) -> Listener:
    """Return the listener: GET of `PATHS`, 404 for everything else."""
    manager = HttpConnectionManager(
        codec_type=HttpConnectionManager.CodecType.AUTO,
        stat_prefix=METRICS,
        route_config=_routes(),
        http_filters=[router()],
        server_name=SERVER_NAME,
    )
    plain = shared([FilterChain(filters=[network_filter(manager)])], METRICS, "INBOUND")
    return Listener.FromString(b"".join(listener(METRICS, (address, port), plain)))


_OWN = r"^(http|listener)\.(admin|metrics|async-client)\..+$"
"""What tells of being measured alone."""


def stats_config(*, counts_all: bool = False) -> StatsConfig:
    """Return what is counted, and the histogram buckets of every request time, in milliseconds.

    What a logger counts has its labels behind its name (`xds_server.compile.apart`).
    """
    matches = StringMatcher(suffix="rq_time"), StringMatcher(prefix="http.downstream_rq_time")
    buckets = [limit / MILLISECOND for limit in LATENCY_BUCKETS]
    return StatsConfig(
        stats_matcher=StatsMatcher(exclusion_list=_patterns(_OWN))
        if counts_all
        else StatsMatcher(inclusion_list=_patterns(*INCLUDED)),
        histogram_bucket_settings=[HistogramBucketSettings(match=match, buckets=buckets) for match in matches],
    )


def _patterns(*patterns: str) -> ListStringMatcher:
    return ListStringMatcher(patterns=[StringMatcher(safe_regex=RegexMatcher(regex=p)) for p in patterns])


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
