"""PromQL of edges: who calls whom, and what the caller gets, from the counters of the callers' own proxies."""

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import (
    CLUSTER,
    DESTINATION,
    GRPC_CALLS,
    GRPC_CODE,
    GRPC_STATUS,
    INSTANCE,
    MESH,
    PREFIX,
    RQ_XX,
    SERVICE,
    SOURCE,
    UPTIME,
    calls,
    outbound,
    selector,
)

BY_EDGE = f"{MESH}, {SOURCE}, {DESTINATION}"
CALLED = f"{names.outbound_stat_prefix('')}|{names.gateway_stat_prefix('')}"


def any_calls(mesh: Mesh) -> bool:
    """Say whether anybody calls anything in a mesh, so that there is an edge to speak of."""
    return bool(called_services(mesh))


def called_services(mesh: Mesh) -> tuple[str, ...]:
    """Return the services that somebody sends requests to, the world outside included; TCP has no requests."""
    called = {call.service for service in mesh.services.values() for call in service.calls}
    return tuple(
        name
        for name, service in mesh.services.items()
        if service.protocol != "tcp" and (name in called or service.expose is not None)
    )


def any_grpc(mesh: Mesh) -> bool:
    """Say whether a service of the mesh speaks gRPC."""
    return any(service.protocol == "grpc" for service in mesh.services.values())


def edges(expr: str, *more: str) -> str:
    """Return an expression over `calls`, summed by source and destination (and `more` labels)."""
    return f"sum by ({', '.join((BY_EDGE, *more))}) ({with_source(with_destination(expr))})"


def with_destination(expr: str) -> str:
    """Add the called service's name to an expression over `calls`."""
    return f'label_replace({expr}, "{DESTINATION}", "$1", "{PREFIX}", "(?:{CALLED})(.+)")'


def with_source(expr: str) -> str:
    """Add the caller's name: the service of the proxy that counted."""
    return f'label_replace({expr}, "{SOURCE}", "$1", "{SERVICE}", "(.+)")'


def by_service(expr: str, label: str = DESTINATION) -> str:
    """Turn edges' source or destination into the service that is spoken of."""
    return f'label_replace({expr}, "{SERVICE}", "$1", "{label}", "(.+)")'


def by_cluster(expr: str) -> str:
    """Add the called service's name to an expression over clusters: a cluster's, without its version."""
    return f'label_replace({expr}, "{DESTINATION}", "$1", "{CLUSTER}", "([^_]+).*")'


def grpc_statuses(mesh: str, statuses: dict[int, str], *more: str) -> str:
    """Return the calls a second by edge that ended in one of these statuses, each series with its `status`."""
    named = outbound(GRPC_CALLS, mesh, f'{GRPC_CODE}=~"{"|".join(statuses.values())}"', *more)
    parts = [f'label_replace({counted(named, mesh)}, "status", "$1", "{GRPC_CODE}", "(.+)")']
    parts += [
        f'label_replace({counted(outbound(f"{GRPC_STATUS}{code}", mesh, *more), mesh)}, "status", "{name}", "", "")'
        for code, name in statuses.items()
    ]
    return f"sum by ({BY_EDGE}, status) ({with_source(by_cluster('(' + ' or '.join(parts) + ')'))})"


def counted(metric: str, mesh: str) -> str:
    """Return the rate of a counter that is not there before its first hit.

    `rate` begins at the first value that it sees, so that a failure that happens once is none
    (prometheus/prometheus#3886). A new series of a proxy that was measured before, or that has
    just started, has begun at 0: its first value happened within the five minutes too.
    """
    before = f"{calls(RQ_XX, mesh)} offset 5m"
    fresh = f"{selector(UPTIME, mesh)} < 300"
    new = f"(min_over_time({metric}[5m]) unless {metric} offset 5m) and on ({MESH}, {INSTANCE}) ({before} or {fresh})"
    return f"((rate({metric}[5m]) or 0 * {metric}) + (({new}) / 300 or 0 * {metric}))"
