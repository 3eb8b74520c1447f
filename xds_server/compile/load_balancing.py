"""`load_balancing` to a cluster's policy, and to what of a request chooses its instance."""

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.type.v3.percent_pb2 import Percent

from legation.mesh.model.load_balancing import HashCookie, LoadBalancing, Policy
from xds_server.compile.pack import duration

_POLICIES: dict[Policy, "Cluster.LbPolicy.ValueType"] = {
    "round_robin": Cluster.LbPolicy.ROUND_ROBIN,
    "least_request": Cluster.LbPolicy.LEAST_REQUEST,
    "random": Cluster.LbPolicy.RANDOM,
    "ring_hash": Cluster.LbPolicy.RING_HASH,
    "maglev": Cluster.LbPolicy.MAGLEV,
}


def balance(cluster: Cluster, asked: LoadBalancing) -> None:
    """Set a cluster's policy.

    Which unhealthy hosts still get requests is decided once, in endpoint.py, unless a panic threshold is asked for.
    """
    cluster.lb_policy = _POLICIES[asked.policy]
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(Percent(value=asked.panic_threshold))
    if asked.locality == "zone_aware":
        weighted = Cluster.CommonLbConfig.LocalityWeightedLbConfig()
        cluster.common_lb_config.locality_weighted_lb_config.CopyFrom(weighted)
    if asked.slow_start is not None:
        slow = Cluster.SlowStartConfig(slow_start_window=duration(asked.slow_start))
        if asked.policy == "round_robin":
            cluster.round_robin_lb_config.slow_start_config.CopyFrom(slow)
        else:
            cluster.least_request_lb_config.slow_start_config.CopyFrom(slow)


def hash_policies(asked: LoadBalancing) -> Iterator[RouteAction.HashPolicy]:
    """Yield what of a request chooses its instance; Envoy combines all of them."""
    if asked.hash_header:
        yield RouteAction.HashPolicy(header=RouteAction.HashPolicy.Header(header_name=asked.hash_header))
    if asked.hash_cookie:
        yield RouteAction.HashPolicy(cookie=_cookie(asked.hash_cookie))
    if asked.hash_source_address:
        connection = RouteAction.HashPolicy.ConnectionProperties(source_ip=True)
        yield RouteAction.HashPolicy(connection_properties=connection)


def _cookie(asked: HashCookie) -> RouteAction.HashPolicy.Cookie:
    if asked.ttl is None:
        return RouteAction.HashPolicy.Cookie(name=asked.name)
    return RouteAction.HashPolicy.Cookie(name=asked.name, ttl=duration(asked.ttl), path="/")
