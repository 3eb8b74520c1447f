"""`protocol: tcp`: connections instead of requests. Access is decided once for each, by who opens it.

Servers that speak first need nothing more: a proxy connects to the next one before any byte has come. Those in
front of an app see by the client's first bytes whether it speaks TLS, and wait for them for a while.
"""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has three
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.connections import Connections
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from xds_server.compile import tls
from xds_server.compile.access_log import Direction, tcp_access_logs
from xds_server.compile.connection_limit import limit
from xds_server.compile.listener import Chain, shared
from xds_server.compile.pack import duration, pack
from xds_server.compile.permissive import BANNER_WAIT, ENCRYPTED, PLAIN, count_plaintext
from xds_server.compile.rbac import Callers, rules

_APP_ATTEMPTS, _PEER_ATTEMPTS = 50, 15
"""A connection that nobody took has lost nothing: it waits for its app to listen (about 5 s), or another one is tried.

An app that is down for longer is found so by its check, and a peer that is not there may be silent each time.
"""
_BACK_OFF = timedelta(milliseconds=25), timedelta(milliseconds=200)
"""The first pause is up to the one, each later one up to the other (Envoy: random below them)."""


def inbound_tcp_chain(mesh: Mesh, name: str, allowed: Callers, mark: str = "") -> Chain:
    """Return what the inbound listeners of a TCP service's instances share: mTLS, access control twice, the app.

    With another mark it is another chain: Envoy drains the one before, and closes its connections.
    """
    service = mesh.services[name]
    identities = [names.spiffe_id(mesh.trust_domain, caller) for caller in sorted(allowed)]
    rbac = RbacFilter(stat_prefix=f"{names.INBOUND}.", rules=rules(mesh.trust_domain, allowed))
    limits = limit(service.connections.max_connections)
    decided = [*limits, Filter(name="envoy.filters.network.rbac", typed_config=pack(rbac))]
    filters, socket = [*decided, _inbound_proxy(name, service)], tls.downstream_for(identities)
    chains = [FilterChain(name=mark, filters=filters, filter_chain_match=ENCRYPTED, transport_socket=socket)]
    if mesh.is_permissive(name):
        counted = _inbound_proxy(name, service, count_plaintext())
        chains.append(FilterChain(filters=[*limits, counted], filter_chain_match=PLAIN))
    return shared(chains, names.INBOUND, "INBOUND", inspect=BANNER_WAIT)


def _inbound_proxy(name: str, service: Service, *logs: AccessLog) -> Filter:
    return _proxy("inbound", names.INBOUND, names.LOCAL_APP, name, service.connections, logs)


def outbound_tcp_chain(callee: str, called: Service, service: str, mark: str = "") -> Chain:
    """Return what a service's listeners for one called TCP service share."""
    return tcp_chain(names.outbound_stat_prefix(callee), names.cluster(callee), service, called.connections, mark)


def tcp_chain(prefix: str, cluster: str, service: str, asked: Connections, mark: str = "") -> Chain:
    """Return what takes an app's connections to a cluster."""
    proxy = _proxy("outbound", prefix, cluster, service, asked)
    return shared([FilterChain(name=mark, filters=[proxy])], prefix, "OUTBOUND")


def gateway_proxy(callee: str, called: Service) -> Filter:
    """Return what takes connections from outside to an exposed service."""
    prefix, cluster = names.gateway_stat_prefix(callee), names.cluster(callee)
    return _proxy("gateway", prefix, cluster, names.GATEWAY, called.connections)


def _proxy(
    direction: Direction, prefix: str, cluster: str, service: str, asked: Connections, logs: Iterable[AccessLog] = ()
) -> Filter:
    config = TcpProxy(
        stat_prefix=prefix,
        cluster=cluster,
        max_connect_attempts=UInt32Value(value=_APP_ATTEMPTS if direction == "inbound" else _PEER_ATTEMPTS),
        backoff_options=BackoffStrategy(base_interval=duration(_BACK_OFF[0]), max_interval=duration(_BACK_OFF[1])),
        access_log=[*tcp_access_logs(direction, service), *logs],
    )
    if asked.idle_timeout is not None:
        config.idle_timeout.CopyFrom(duration(asked.idle_timeout))
    if asked.max_duration is not None:
        config.max_downstream_connection_duration.CopyFrom(duration(asked.max_duration))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(config))
