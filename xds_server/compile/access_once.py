"""Access decided once a connection, for callers that may do everything: who a peer is does not change on it.

The rules are those of requests (`rbac`), in a filter of connections that enforces nothing: it finds such callers
allowed, and a second one keeps that in the connection's filter state, where no request can say it. In front of an app
each row of the routes has one before it for connections with this state, on which the filter of requests is off.
Whatever is missing (the state, a certificate, what an Envoy knows) leaves that on, with all that it denies and counts.
"""

from collections.abc import Iterable, Iterator

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has three
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds.type.v3.typed_struct_pb2 import TypedStruct

from legation.mesh.model.service import Service
from xds_server.compile.pack import pack
from xds_server.compile.rbac import Callers, rules

ACCESS, RBAC = "legation.calls", "envoy.filters.http.rbac"
"""The filter of requests: where routes may turn it off, and elsewhere, by a name that they do not know."""

DECIDES, KEEPS = "legation.callers", "legation.allowed"
_CONFIG = "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config"
_FOUND = "%DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_engine_result)%"


def decided_once(service: Service, allowed: Callers) -> Callers:
    """Return the callers of a service that are decided once a connection."""
    enforced = service.access.mode == "enforce"
    return {caller: allow for caller, allow in allowed.items() if enforced and not allow}


def deciding_filters(trust_domain: str, decided: Callers) -> tuple[Filter, ...]:
    """Return what decides for a connection, before its manager; nothing where nobody is decided so."""
    if not decided:
        return ()
    rbac = RbacFilter(stat_prefix="callers.", shadow_rules=rules(trust_domain, decided))
    return Filter(name=DECIDES, typed_config=pack(rbac)), Filter(name=KEEPS, typed_config=pack(_kept()))


def _kept() -> TypedStruct:
    """Return what keeps the decision, as JSON: the protos that we have lack `on_downstream_data`.

    Only with a connection's first bytes is its handshake over and decided by whom it is.
    """
    text = {"text_format_source": {"inline_string": _FOUND}}
    value = {"object_key": KEEPS, "factory_key": "envoy.string", "format_string": text}
    config = TypedStruct(type_url=_CONFIG)
    config.value.update({"on_downstream_data": [value]})
    return config


def with_decided(rows: Iterable[Route]) -> Iterator[Route]:
    """Yield rows, those that lead to an app with one before them for connections that are decided."""
    for row in rows:
        if row.HasField("route"):
            yield _decided(row)
        yield row


def _decided(row: Route) -> Route:
    found = Route()
    found.CopyFrom(row)
    found.match.filter_state.append(FilterStateMatcher(key=KEEPS, string_match=StringMatcher(exact="allowed")))
    found.typed_per_filter_config[ACCESS].CopyFrom(pack(FilterConfig(disabled=True)))
    return found
