"""What every HTTP connection manager of ours has: routes over ADS, headers that nobody may forge, the access log."""

from collections.abc import Collection, Iterable
from datetime import timedelta

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh.model.mesh import Mesh
from xds_server.compile.access_log import Direction, access_logs, logged, may_be_grpc
from xds_server.compile.cluster import ads
from xds_server.compile.pack import duration, pack
from xds_server.compile.tracing import left_to_callees

SERVER_NAME = "legation"
CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"

IDLE_TIMEOUT = timedelta(minutes=5)
"""Of a request in which nothing moves, as in Envoy. Clients at a gateway are held to it by its manager.

An app's own calls end by their timeout, and only routes that last longer have this one, too: a manager starts that
timer anew at each step of each request.
"""

FORBIDDEN = tuple(StringMatcher(prefix=prefix) for prefix in ("x-envoy-", "x-legation-"))
"""Headers by which a client could change retries and timeouts, or speak for a proxy: removed before anything else."""


def connection_manager(
    mesh: Mesh,
    direction: Direction,
    stat_prefix: str,
    routes: str,
    service: str,
    filters: Iterable[HttpFilter] = (),
    mutations: Iterable[HeaderMutation] = (),
    called: Collection[str] = (),
    forbidden: Iterable[StringMatcher] = FORBIDDEN,
) -> HttpConnectionManager:
    """Return a manager whose routes come over ADS by the name `routes`; each direction adds to it.

    `mutations` change a request's headers before anything reads them, and after those that are `forbidden` are gone;
    `called` are the services behind it, to a caller.
    """
    return HttpConnectionManager(
        codec_type=HttpConnectionManager.CodecType.AUTO,
        stat_prefix=stat_prefix,
        rds=Rds(route_config_name=routes, config_source=ads()),
        http_filters=[*filters, router(counts_all=mesh.metrics.is_full)],
        access_log=access_logs(
            direction,
            service,
            logged(mesh, called),
            carried=left_to_callees(mesh, called),
            grpc=may_be_grpc(mesh, direction, service, called),
        ),
        early_header_mutation_extensions=[_early(forbidden, mutations)],
        generate_request_id=BoolValue(value=direction == "gateway" or mesh.logging.generate_request_id),
        normalize_path=BoolValue(value=not _leaves_paths(mesh, called)),
        server_name=SERVER_NAME,
        server_header_transformation=HttpConnectionManager.ServerHeaderTransformation.PASS_THROUGH,
        stream_idle_timeout=duration(IDLE_TIMEOUT if direction == "gateway" else timedelta(0)),
    )


def _leaves_paths(mesh: Mesh, called: Collection[str]) -> bool:
    """Say whether a path is as well left to the sidecars of the called services, which each bring it into one spelling.

    It is where no route looks at it. Servers outside the mesh have no sidecar, and gateways know of no `called`.
    """
    return mesh.has_all(called) and not any(route.reads_path for name in called for route in mesh.services[name].routes)


def network_filter(manager: HttpConnectionManager) -> Filter:
    """Return the manager as a listener's filter."""
    return Filter(name=CONNECTION_MANAGER, typed_config=pack(manager))


def router(*, counts_all: bool = False) -> HttpFilter:
    """Return the last filter. It adds no x-envoy headers of its own, and takes no timeouts from a request's.

    It counts answers by their code and time only where all is counted: the connection manager does so, too, and
    making up the names of those statistics was a twentieth of what a request cost (docs/bench.md).
    """
    config = Router(suppress_envoy_headers=True, dynamic_stats=BoolValue(value=counts_all))
    return HttpFilter(name="envoy.filters.http.router", typed_config=pack(config))


def _early(forbidden: Iterable[StringMatcher], more: Iterable[HeaderMutation]) -> TypedExtensionConfig:
    """Return what changes headers first. Each matcher goes through all of them, which costs more than a longer one."""
    forget = [HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=one)) for one in forbidden]
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=pack(EarlyHeaderMutation(mutations=[*forget, *more])),
    )
