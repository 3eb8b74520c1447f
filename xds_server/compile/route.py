"""`routes` to route configurations: a service's, shared by all of its callers, and the one in front of every app."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from types import MappingProxyType

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.action import Mirror
from legation.mesh.model.match import RouteMatch
from legation.mesh.model.route import Route
from legation.mesh.model.service import Service
from xds_server.compile.access_once import Rights, with_decided
from xds_server.compile.fault import befallen
from xds_server.compile.forged import OF_PROXIES
from xds_server.compile.http import IDLE_TIMEOUT
from xds_server.compile.load_balancing import hash_policies
from xds_server.compile.match import route_match
from xds_server.compile.pack import duration
from xds_server.compile.retry import RETRY_HEADER, RetryRule, retry_rules
from xds_server.compile.revoked import denied
from xds_server.compile.rewrite import change_headers, redirect, respond, rewrite
from xds_server.compile.strict import refusing
from xds_server.compile.tracing import route_tracing
from xds_server.compile.unavailable import HEADER, Outage, route_metadata
from xds_server.compile.websocket import websocket

NOT_AGAIN = (RetryRule((), None),)
"""What holds where nothing is tried again."""


def service_routes(name: str, service: Service, outage: Outage | None = None) -> RouteConfiguration:
    """Return the routes to a service, by its name, for every Host."""
    return configuration(name, [virtual_host(name, ["*"], service_rows(name, service, outage))])


def service_rows(name: str, service: Service, outage: Outage | None = None) -> list[components.Route]:
    """Return the rows of a service's routes; requests that none of them matches go to all of its versions."""
    rows = [(f"{name}.routes[{index}]", _served(route, outage)) for index, route in enumerate(service.routes)]
    if not has_catch_all(service):
        rows.append((f"{name}.default", Route()))
    routes = [proto for row, route in rows for proto in _routes(row, name, service, route)]
    why = route_metadata(name, outage)
    if why is not None:
        for route in routes:
            route.metadata.CopyFrom(why)
    return routes


def inbound_routes(
    revoked: Collection[str] = (),
    rules: Sequence[RetryRule] = NOT_AGAIN,
    sockets: Sequence[RouteMatch] = (),
    rights: Rights = MappingProxyType({}),
) -> RouteConfiguration:
    """Return what stands in front of every app: all requests, without limits, as those are the caller's.

    None of a peer whose certificate's serial is `revoked`. `rules` are those of tries towards the app,
    `sockets` where it may be asked for WebSockets, `rights` those that are decided once a connection.

    What an Envoy would believe of the app's answer is dropped: only its proxy may promise that a request never
    arrived. So is what only a caller's proxy says to its app; not at callers, where it would cost as much again.
    """
    routes = [_to_app(rule, match) for match in sockets for rule in rules]
    for route in routes:
        route.route.upgrade_configs.append(websocket())
    routes += [_to_app(rule, RouteMatch()) for rule in rules]
    rows = with_decided(refusing(routes), rights)
    host = components.VirtualHost(name=names.INBOUND, domains=["*"], routes=rows)
    found = configuration(names.INBOUND, [host])
    found.response_headers_to_remove[:] = [HEADER, *OF_PROXIES]
    for name, config in denied(revoked).items():
        found.typed_per_filter_config[name].CopyFrom(config)
    return found


def _to_app(rule: RetryRule, match: RouteMatch) -> components.Route:
    action = components.RouteAction(
        cluster=names.LOCAL_APP,
        timeout=duration(timedelta(0)),
        idle_timeout=duration(timedelta(0)),
        retry_policy=rule.policy,
    )
    return components.Route(name=names.INBOUND, match=route_match(match, rule.methods), route=action)


def has_catch_all(service: Service) -> bool:
    """Say whether one of the service's own routes matches every request."""
    return any(route.match.takes_all for route in service.routes)


def targets(service: Service) -> tuple[str | None, ...]:
    """Return the versions that routes send requests to, sorted; None first, for the service as a whole."""
    asking = [route for route in service.routes if not route.is_answered]
    versions = {version for route in asking for version, weight in route.split.items() if weight}
    versions |= {route.mirror.version for route in asking if route.mirror is not None}
    whole = not has_catch_all(service) or any(not route.split for route in asking)
    return (*((None,) if whole else ()), *sorted(versions))


def virtual_host(name: str, hosts: Sequence[str], routes: Sequence[components.Route]) -> components.VirtualHost:
    """Return what requests for some hosts meet: what no proxy passes on first."""
    return components.VirtualHost(name=name, domains=hosts, routes=refusing(routes))


def configuration(name: str, hosts: Sequence[components.VirtualHost]) -> RouteConfiguration:
    """Return a route configuration; what proxies say to each other in headers ends here."""
    return RouteConfiguration(
        name=name,
        virtual_hosts=hosts,
        response_headers_to_remove=[RETRY_HEADER],
    )


def _served(route: Route, outage: Outage | None) -> Route:
    """Return a route whose shares are those of versions with a ready instance: one without any is nobody to wait for.

    Of a service or a row without any at all it is as it was: its requests wait, or are told why not.
    """
    missing = outage.versions if outage is not None else ()
    split = {version: weight for version, weight in route.split.items() if version not in missing}
    return route.model_copy(update={"split": split}) if any(split.values()) and len(split) < len(route.split) else route


def _routes(row: str, name: str, service: Service, route: Route) -> Iterator[components.Route]:
    """Yield the Envoy routes of one row: one for each rule of its retries, and as many for a fault."""
    for methods, rule in _rules(service, route):
        proto = components.Route(name=row, match=route_match(route.match, methods))
        if route.redirect is not None:
            proto.redirect.CopyFrom(redirect(route.redirect))
        elif route.respond is not None:
            proto.direct_response.CopyFrom(respond(route.respond))
        else:
            proto.route.CopyFrom(_action(name, service, route, rule))
        change_headers(proto, route)
        if route.tracing is not None:
            proto.tracing.CopyFrom(route_tracing(route.tracing))
        yield from (proto,) if route.fault is None else befallen(proto, route.fault)


def _rules(service: Service, route: Route) -> Iterator[tuple[tuple[str, ...], RetryRule]]:
    """Yield the rules of a row's retries, each with the methods that it holds for; a row that asks nobody has one."""
    if route.is_answered:
        yield route.match.methods, RetryRule((), None)
        return
    taken: set[str] = set()
    for rule in retry_rules(route.retry, service.protocol, route.timeout):
        methods = tuple(m for m in route.match.methods or rule.methods if _holds(rule, m) and m not in taken)
        if methods or not (route.match.methods or rule.methods):
            yield methods, rule
        taken |= set(methods)


def _holds(rule: RetryRule, method: str) -> bool:
    return not rule.methods or method in rule.methods


def _action(name: str, service: Service, route: Route, rule: RetryRule) -> components.RouteAction:
    action = components.RouteAction(timeout=duration(route.timeout), retry_policy=rule.policy)
    if (idle := _idle(route)) is not None:
        action.idle_timeout.CopyFrom(duration(idle))
    if rule.hedges:
        action.hedge_policy.hedge_on_per_try_timeout = True
    action.hash_policy.extend(hash_policies(service.load_balancing))
    if route.rewrite is not None:
        rewrite(action, route.rewrite)
    if route.mirror is not None:
        action.request_mirror_policies.append(_mirror(name, route.mirror))
    if route.websocket:
        action.upgrade_configs.append(websocket())
    weights = {names.cluster(name, version): weight for version, weight in sorted(route.split.items()) if weight}
    if len(weights) > 1:
        action.weighted_clusters.CopyFrom(_weighted(weights))
    else:
        action.cluster = next(iter(weights), names.cluster(name))
    return action


def _idle(route: Route) -> timedelta | None:
    """Return how long a request may be silent; None where its timeout ends it before."""
    if route.idle_timeout is not None or not route.timeout:
        return route.idle_timeout or timedelta(0)
    # no timeout ends a WebSocket
    return IDLE_TIMEOUT if route.websocket or route.timeout > IDLE_TIMEOUT else None


def _mirror(name: str, asked: Mirror) -> components.RouteAction.RequestMirrorPolicy:
    share = FractionalPercent(numerator=asked.percent, denominator=FractionalPercent.DenominatorType.HUNDRED)
    return components.RouteAction.RequestMirrorPolicy(
        cluster=names.cluster(name, asked.version),
        runtime_fraction=RuntimeFractionalPercent(default_value=share),
        # the copy is told apart by where it goes: its Host is what the app expects
        disable_shadow_host_suffix_append=True,
    )


def _weighted(weights: dict[str, int]) -> components.WeightedCluster:
    return components.WeightedCluster(
        clusters=[
            components.WeightedCluster.ClusterWeight(name=cluster, weight=UInt32Value(value=weight))
            for cluster, weight in weights.items()
        ]
    )
