"""Revocation on connections that are open: a request whose peer's certificate is revoked is denied, by its serial.

A list of revoked certificates bears on new handshakes alone. So the listener writes the serial that the
peer showed into a header, before anything else, and a filter that denies nothing by itself gets the
revoked serials by the route configuration: a push of routes, with which no connection is drained.
"""

from collections.abc import Collection

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Action
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.any_pb2 import Any
from xds.core.v3.extension_pb2 import TypedExtensionConfig as MatcherConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from xds_server.compile.pack import pack

FILTER = "legation.revoked"
PEER_SERIAL = "x-legation-peer-serial"
"""Lower-case hex without colons, whole bytes: as Envoy writes it and certmgr says it."""


def peer_serial() -> HeaderMutation:
    """Return what writes the peer's serial into the request; what the client sent under that name is gone by then."""
    return HeaderMutation(
        append=HeaderValueOption(
            header=HeaderValue(key=PEER_SERIAL, value="%DOWNSTREAM_PEER_SERIAL%"),
            append_action=HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )


def revoked_filter() -> HttpFilter:
    """Return the filter, which by itself lets everything pass."""
    return HttpFilter(name=FILTER, typed_config=pack(RbacFilter()))


def denied(serials: Collection[str]) -> dict[str, Any]:
    """Return what the route configuration tells the filter: an exact-match map, as thousands cost no more than one."""
    if not serials:
        return {}
    deny = _do("revoked", RBAC.Action.DENY)
    table = Matcher.MatcherTree.MatchMap(map=dict.fromkeys(sorted(serials), deny))
    where = MatcherConfig(name="serial", typed_config=pack(HttpRequestHeaderMatchInput(header_name=PEER_SERIAL)))
    matcher = Matcher(
        matcher_tree=Matcher.MatcherTree(input=where, exact_match_map=table),
        on_no_match=_do("valid", RBAC.Action.ALLOW),
    )
    return {FILTER: pack(RBACPerRoute(rbac=RbacFilter(matcher=matcher)))}


def _do(name: str, action: RBAC.Action.ValueType) -> Matcher.OnMatch:
    return Matcher.OnMatch(action=MatcherConfig(name=name, typed_config=pack(Action(name=name, action=action))))
