"""Revocation on connections that are open: a request whose peer's certificate is revoked is denied, by its serial.

A list of revoked certificates bears on new handshakes alone. So the serial that the peer showed is looked up at each
request among those that the route configuration brings: a push of routes, with which no connection is drained. While
nothing is revoked, no request passes these filters.
"""

from collections.abc import Collection

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Action
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config as FilterState
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import FilterStateInput
from google.protobuf.any_pb2 import Any
from xds.core.v3.extension_pb2 import TypedExtensionConfig as MatcherConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from xds_server.compile.pack import pack

SERIAL_FILTER, FILTER = "legation.serial", "legation.revoked"
_PEER_SERIAL = "legation.serial"
"""Lower-case hex without colons, whole bytes: as Envoy writes it and certmgr says it.

In the request's filter state and not among its headers, where a client could name it.
"""

_READ = FilterState(
    on_request_headers=[
        FilterStateValue(
            object_key=_PEER_SERIAL,
            factory_key="envoy.string",
            format_string=SubstitutionFormatString(
                text_format_source=DataSource(inline_string="%DOWNSTREAM_PEER_SERIAL%")
            ),
        )
    ]
)


def revoked_filters() -> tuple[HttpFilter, HttpFilter]:
    """Return what reads the peer's serial and what denies by it: both are off until routes turn them on."""
    return (
        HttpFilter(name=SERIAL_FILTER, typed_config=pack(_READ), disabled=True),
        HttpFilter(name=FILTER, typed_config=pack(RbacFilter()), disabled=True),
    )


def denied(serials: Collection[str]) -> dict[str, Any]:
    """Return what the route configuration tells the filters: an exact-match map, as thousands cost no more than one."""
    if not serials:
        return {}
    deny = _do("revoked", RBAC.Action.DENY)
    table = Matcher.MatcherTree.MatchMap(map=dict.fromkeys(sorted(serials), deny))
    where = MatcherConfig(name="serial", typed_config=pack(FilterStateInput(key=_PEER_SERIAL)))
    matcher = Matcher(
        matcher_tree=Matcher.MatcherTree(input=where, exact_match_map=table),
        on_no_match=_do("valid", RBAC.Action.ALLOW),
    )
    rules = RBACPerRoute(rbac=RbacFilter(matcher=matcher))
    return {name: pack(FilterConfig(config=pack(said))) for name, said in ((SERIAL_FILTER, _READ), (FILTER, rules))}


def _do(name: str, action: RBAC.Action.ValueType) -> Matcher.OnMatch:
    return Matcher.OnMatch(action=MatcherConfig(name=name, typed_config=pack(Action(name=name, action=action))))
