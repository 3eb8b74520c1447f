"""`rate_limit.global`, twice: what an inbound proxy asks for each request, and the limits that ratelimit counts by.

Both sides know a limit by its descriptor: first which limit it is, then whoever has so many of it.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.ratelimit.v3.rls_pb2 import RateLimitServiceConfig
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.config.route.v3.route_components_pb2 import RateLimit as Asked
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import XRateLimitHeadersRFCVersion
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit as Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2 import Descriptor
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.rate_limit import GlobalLimit, RateLimit
from xds_server.compile.pack import duration, pack

LIMIT, CALLER, NOBODY = "limit", "caller", "-"
_PEER = f"has(connection.uri_san_peer_certificate) ? connection.uri_san_peer_certificate : '{NOBODY}'"
"""Whoever sends plain text, where that is let in, has so many together: Envoy does not ask about what is missing."""

_Action = Asked.Action


def global_limits(name: str, domain: str, asked: RateLimit | None) -> Sequence[HttpFilter]:
    """Return the filter that asks; none without a limit. `domain` is the mesh's name."""
    if asked is None or asked.global_ is None:
        return ()
    found = asked.global_
    envoy = GrpcService.EnvoyGrpc(cluster_name=names.cluster(found.service))
    config = Filter(
        domain=domain,
        timeout=duration(found.timeout),
        failure_mode_deny=found.failure_mode_deny,
        status_on_error=HttpStatus(code=503),
        rate_limit_service=RateLimitServiceConfig(
            grpc_service=GrpcService(envoy_grpc=envoy, timeout=duration(found.timeout)),
            transport_api_version=ApiVersion.V3,
        ),
        enable_x_ratelimit_headers=XRateLimitHeadersRFCVersion.DRAFT_VERSION_03,
        rate_limited_as_resource_exhausted=True,
        rate_limits=[
            Asked(actions=actions) for n, limit in enumerate(found.limits) for actions in _asked(name, n, limit)
        ],
    )
    return (HttpFilter(name="envoy.filters.http.ratelimit", typed_config=pack(config)),)


def _asked(name: str, number: int, limit: GlobalLimit) -> Iterator[Sequence["Asked.Action"]]:
    """Yield what to ask, in as many forms as a request may have: Envoy does not ask where a part is missing."""
    which = _Action(generic_key=_Action.GenericKey(descriptor_key=LIMIT, descriptor_value=_key(name, number)))
    for parts in product(*_parts(limit)):
        yield which, *parts


def _parts(limit: GlobalLimit) -> Iterator[Sequence["Asked.Action"]]:
    if limit.by_caller:
        peer = Descriptor(descriptor_key=CALLER, text=_PEER)
        yield (_Action(extension=TypedExtensionConfig(name=CALLER, typed_config=pack(peer))),)
    if limit.by_source_address:
        yield (_Action(remote_address=_Action.RemoteAddress()),)
    if limit.by_header is not None:
        absent = _Action.HeaderValueMatch(
            descriptor_key=limit.by_header,
            descriptor_value=NOBODY,
            expect_match=BoolValue(value=False),
            headers=[HeaderMatcher(name=limit.by_header, present_match=True)],
        )
        value = _Action.RequestHeaders(header_name=limit.by_header, descriptor_key=limit.by_header)
        yield _Action(request_headers=value), _Action(header_value_match=absent)


def counted(mesh: Mesh) -> dict[str, Any]:
    """Return the limits of a mesh as envoyproxy/ratelimit reads them from a file."""
    found = [
        _counted(_key(name, number), limit)
        for name, service in mesh.services.items()
        if service.rate_limit is not None and service.rate_limit.global_ is not None
        for number, limit in enumerate(service.rate_limit.global_.limits)
    ]
    return {"domain": mesh.mesh, "descriptors": found}


def _counted(key: str, limit: GlobalLimit) -> dict[str, Any]:
    row: dict[str, Any] = {"rate_limit": {"unit": limit.unit, "requests_per_unit": limit.requests_per_unit}}
    keys = [CALLER] if limit.by_caller else []
    keys += ["remote_address"] if limit.by_source_address else []
    keys += [limit.by_header] if limit.by_header is not None else []
    for part in reversed(keys):
        row = {"descriptors": [{"key": part, **row}]}
    return {"key": LIMIT, "value": key, **row}


def _key(name: str, number: int) -> str:
    return f"{name}.{number}"
