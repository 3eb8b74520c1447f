"""The recorded series of a mesh: rate, errors and duration of each edge and service, as callers see them."""

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import (
    ATTEMPTS,
    BUCKETS,
    CERTIFICATE,
    CLASS,
    CLUSTER,
    CLUSTER_EXPIRY,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    ERROR_RATIO,
    ERRORS,
    EXPIRY,
    GIVEN_UP,
    GRPC_FAILURES,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    LATENCY,
    LISTENER_EXPIRY,
    MESH,
    PREFIX,
    QUANTILES,
    REQUESTS,
    RQ_GIVEN_UP,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    SOURCE,
    calls,
    inbound,
    selector,
)
from telemetry.rules.edges import (
    BY_EDGE,
    any_calls,
    any_grpc,
    by_service,
    counted,
    edges,
    grpc_statuses,
    with_destination,
)
from telemetry.rules.objectives import objective_groups
from telemetry.rules.rule import Group, Recording

BY_SERVICE = f"{MESH}, {SERVICE}"
BY_INSTANCE = f"{MESH}, {SERVICE}, {INSTANCE}"


def recording_groups(mesh: Mesh) -> tuple[Group, ...]:
    """Return the groups of recorded series of a mesh. A rule comes after what it reads."""
    name = mesh.mesh
    called = any_calls(mesh)
    return (
        *([Group(f"{name}-requests", requests(mesh)), Group(f"{name}-latency", latency(mesh))] if called else []),
        Group(f"{name}-proxies", (attempts(name), certificate_expiry(name), instances_healthy(name))),
        *(objective_groups(mesh) if called else ()),
    )


def requests(mesh: Mesh) -> tuple[Recording, ...]:
    """Return the requests a second of each edge and each service, those that failed, and their share.

    A request that was answered after a retry is one that did not fail. Of the gateway, they are
    all that came from outside. A service without traffic has a share of 0; one that no measured
    proxy calls has none.
    """
    name = mesh.mesh
    given_up = _given_up(name)
    share = f"{selector(ERRORS, name)} / ({selector(REQUESTS, name)} > 0)"
    return (
        Recording(EDGE_REQUESTS, edges(f"(rate({calls(RQ_XX, name)}[5m]) or {given_up})")),
        Recording(EDGE_ERRORS, failed(mesh)),
        Recording(REQUESTS, _services(EDGE_REQUESTS, mesh)),
        Recording(ERRORS, _services(EDGE_ERRORS, mesh)),
        Recording(
            GIVEN_UP,
            f"sum by ({BY_SERVICE}) ({by_service(with_destination(given_up))}) or 0 * {selector(REQUESTS, name)}",
        ),
        Recording(ERROR_RATIO, f"clamp_max({share}, 1) or 0 * {selector(REQUESTS, name)}"),
    )


def failed(mesh: Mesh) -> str:
    """Return the requests a second of each edge that failed: 5xx, given up, or a gRPC status that is our fault."""
    name = mesh.mesh
    bad = calls(RQ_XX, name, f'{CLASS}="5"')
    http = edges(f"(rate({bad}[5m]) or {_given_up(name)})")
    if not any_grpc(mesh):
        return http
    grpc = f"sum by ({BY_EDGE}) ({grpc_statuses(name, GRPC_FAILURES)})"
    return f"{http} + ({grpc} or 0 * {selector(EDGE_REQUESTS, name)})"


def _given_up(mesh: str) -> str:
    return counted(calls(RQ_GIVEN_UP, mesh), mesh)


def _services(edge: str, mesh: Mesh) -> str:
    """Return edges' sums by called service; of the gateway, by source."""
    called = f"sum by ({BY_SERVICE}) ({by_service(selector(edge, mesh.mesh))})"
    if not mesh.exposed():
        return called
    outside = selector(edge, mesh.mesh, f'{SOURCE}="{names.GATEWAY}"')
    return f"{called} or sum by ({BY_SERVICE}) ({by_service(outside, SOURCE)})"


def latency(mesh: Mesh) -> tuple[Recording, ...]:
    """Return the latency of each service as its callers see it, in seconds; Envoy measures milliseconds."""
    name = mesh.mesh
    called = f"sum by ({BY_SERVICE}, le) ({by_service(with_destination(f'rate({calls(RQ_TIME, name)}[5m])'))})"
    outside = selector(RQ_TIME, name, f'{PREFIX}=~"{names.gateway_stat_prefix("[a-z0-9].*")}"')
    of_gateway = f" or sum by ({BY_SERVICE}, le) (rate({outside}[5m]))" if mesh.exposed() else ""
    return (
        Recording(BUCKETS, f"{called}{of_gateway}"),
        *(
            Recording(LATENCY[which], f"histogram_quantile({quantile}, {selector(BUCKETS, name)}) / 1000")
            for which, quantile in QUANTILES.items()
        ),
    )


def attempts(mesh: str) -> Recording:
    """Return what reaches each service's own proxies: more than its requests, by what is tried again."""
    return Recording(ATTEMPTS, f"sum by ({BY_SERVICE}) (rate({inbound(RQ_XX, mesh)}[5m]))")


def certificate_expiry(mesh: str) -> Recording:
    """Return how many seconds each proxy's certificate and trust bundle still have, by the SDS secret's name.

    `envoy_server_days_until_first_cert_expiring` counts whole days and never goes below 0:
    useless for certificates that live for an hour. A gateway's is the one that it shows xds_server.
    """
    xds = f'{CLUSTER}="{names.own_stat_name(names.XDS_CLUSTER)}"'
    at = f"{selector(LISTENER_EXPIRY, mesh)} or {selector(CLUSTER_EXPIRY, mesh, xds)}"
    return Recording(EXPIRY, f"min by ({BY_INSTANCE}, {CERTIFICATE}) ({at}) - time()")


def instances_healthy(mesh: str) -> Recording:
    """Return how many instances of each service take requests; 0 for one that has none at all."""
    listed = f"0 * group by ({BY_SERVICE}) ({selector(SERVICE_INFO, mesh)})"
    return Recording(HEALTHY, f"sum by ({BY_SERVICE}) ({selector(INSTANCE_HEALTHY, mesh)}) or {listed}")
