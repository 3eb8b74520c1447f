"""`routes` to route configurations: a service's, shared by all of its callers, and the one in front of every app."""

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.route import Route, RouteMatch
from legation.mesh.model.service import Service
from xds_server.compile.load_balancing import hash_policies
from xds_server.compile.pack import duration
from xds_server.compile.retry import RETRY_HEADER, RetryRule, retry_rules
from xds_server.compile.strict import refusals
from xds_server.compile.unavailable import HEADER, Outage, route_metadata


def service_routes(name: str, service: Service, outage: Outage | None = None) -> RouteConfiguration:
    """Return the routes to a service, by its name; requests that no row matches go to all of its versions."""
    rows = [(f"{name}.routes[{index}]", route) for index, route in enumerate(service.routes)]
    if not has_catch_all(service):
        rows.append((f"{name}.default", Route()))
    routes = [proto for row, route in rows for proto in _routes(row, name, service, route)]
    if (why := route_metadata(name, outage)) is not None:
        for route in routes:
            route.metadata.CopyFrom(why)
    return _configuration(name, routes)


def inbound_routes() -> RouteConfiguration:
    """Return what stands in front of every app: all requests, without limits, as those are the caller's.

    The app's own `x-legation-retry` is dropped: only its proxy may promise that a request never arrived.
    """
    action = components.RouteAction(
        cluster=names.LOCAL_APP, timeout=duration(timedelta(0)), idle_timeout=duration(timedelta(0))
    )
    route = components.Route(name=names.INBOUND, match=components.RouteMatch(prefix="/"), route=action)
    return _configuration(names.INBOUND, [route])


def has_catch_all(service: Service) -> bool:
    """Say whether one of the service's own routes matches every request."""
    return any(route.match in (RouteMatch(), RouteMatch(prefix="/")) for route in service.routes)


def targets(service: Service) -> tuple[str | None, ...]:
    """Return the versions that routes send requests to, sorted; None first, for the service as a whole."""
    versions = {version for route in service.routes for version, weight in route.split.items() if weight}
    whole = not has_catch_all(service) or any(not route.split for route in service.routes)
    return (*((None,) if whole else ()), *sorted(versions))


def _configuration(name: str, routes: list[components.Route]) -> RouteConfiguration:
    host = components.VirtualHost(name=name, domains=["*"], routes=[*refusals(), *routes])
    return RouteConfiguration(name=name, virtual_hosts=[host], response_headers_to_remove=[RETRY_HEADER, HEADER])


def _routes(row: str, name: str, service: Service, route: Route) -> Iterator[components.Route]:
    """Yield the Envoy routes of one row: one for each rule of its retries, all under the row's name."""
    taken: set[str] = set()
    for rule in retry_rules(route.retry, service.protocol):
        methods = tuple(m for m in route.match.methods or rule.methods if _holds(rule, m) and m not in taken)
        if methods or not (route.match.methods or rule.methods):
            yield components.Route(
                name=row, match=_match(route.match, methods), route=_action(name, service, route, rule)
            )
        taken |= set(methods)


def _holds(rule: RetryRule, method: str) -> bool:
    return not rule.methods or method in rule.methods


def _match(match: RouteMatch, methods: tuple[str, ...]) -> components.RouteMatch:
    headers = [
        components.HeaderMatcher(name=header, string_match=StringMatcher(exact=value))
        for header, value in sorted(match.headers.items())
    ]
    if methods:
        headers.append(components.HeaderMatcher(name=":method", string_match=_one_of(methods)))
    if match.path is not None:
        return components.RouteMatch(path=match.path, headers=headers)
    return components.RouteMatch(prefix=match.prefix or "/", headers=headers)


def _one_of(methods: tuple[str, ...]) -> StringMatcher:
    """Match one of these methods; they are capital letters only, so nothing needs quoting."""
    if len(methods) == 1:
        return StringMatcher(exact=methods[0])
    return StringMatcher(safe_regex=RegexMatcher(regex="|".join(sorted(methods))))


def _action(name: str, service: Service, route: Route, rule: RetryRule) -> components.RouteAction:
    action = components.RouteAction(timeout=duration(route.timeout), retry_policy=rule.policy)
    if not route.timeout:
        action.idle_timeout.CopyFrom(duration(timedelta(0)))
    action.hash_policy.extend(hash_policies(service.load_balancing))
    weights = {names.cluster(name, version): weight for version, weight in sorted(route.split.items()) if weight}
    if len(weights) > 1:
        action.weighted_clusters.CopyFrom(_weighted(weights))
    else:
        action.cluster = next(iter(weights), names.cluster(name))
    return action


def _weighted(weights: dict[str, int]) -> components.WeightedCluster:
    return components.WeightedCluster(
        clusters=[
            components.WeightedCluster.ClusterWeight(name=cluster, weight=UInt32Value(value=weight))
            for cluster, weight in weights.items()
        ]
    )
