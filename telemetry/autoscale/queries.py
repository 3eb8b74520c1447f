"""What a policy asks a Prometheus: the same PromQL for telemetry itself, for KEDA and for an HPA's adapter. Pure."""

from collections.abc import Iterable

from legation.mesh.model.autoscale import Autoscale, Metric
from legation.mesh.model.mesh import Mesh
from telemetry.autoscale.statistics import QUANTILE
from telemetry.rules.conventions import (
    CPU_SECONDS,
    INSTANCE,
    INSTANCE_ID,
    RQ_ACTIVE,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    VERSION,
    inbound,
    selector,
)

WINDOW = "1m"
"""What rates are over: four scrapes of 15 s, so that one may fail."""

FRESH = 60
"""Seconds after which an instance that was not scraped is one of which nothing is known."""


def query(metric: Metric, mesh: str, service: str, version: str = "", instances: Iterable[str] = ()) -> str:
    """Return a metric of a service's instances together, in the unit of `Autoscale.targets`.

    Without a version it is of all; `instances` are the only ones that are meant, where somebody scales but his own.
    """
    ids = "|".join(instances)
    which = (f'{SERVICE}="{service}"', *([f'{VERSION}="{version}"'] if version else []))
    near = (*which, *([f'{INSTANCE}=~"{ids}"'] if ids else []))
    match metric:
        case "requests_per_second":
            return f"sum(rate({inbound(RQ_XX, mesh, *near)}[{WINDOW}]))"
        case "in_flight":
            return f"sum({inbound(RQ_ACTIVE, mesh, *near)})"
        case "latency":
            buckets = f"sum by (le) (rate({inbound(RQ_TIME, mesh, *near)}[{WINDOW}]))"
            # Where nothing was answered it is NaN: 0 if nobody waits either, else nothing is known.
            idle = f"sum({inbound(RQ_ACTIVE, mesh, *near)}) == 0"
            return f"histogram_quantile({QUANTILE}, {buckets}) / 1000 >= 0 or {idle}"
        case "cpu":
            told = (*which, *([f'{INSTANCE_ID}=~"{ids}"'] if ids else []))
            return f"sum(rate({selector(CPU_SECONDS, mesh, *told)}[{WINDOW}]))"


def reporting(metric: Metric, mesh: str, service: str, version: str = "", instances: Iterable[str] = ()) -> str:
    """Return how many instances have been scraped of late: those of which `query` speaks."""
    ids = "|".join(instances)
    which = (f'{SERVICE}="{service}"', *([f'{VERSION}="{version}"'] if version else []))
    if metric == "cpu":
        told = selector(CPU_SECONDS, mesh, *which, *([f'{INSTANCE_ID}=~"{ids}"'] if ids else []))
        return f"count((time() - timestamp({told})) < {FRESH})"
    near = (*which, *([f'{INSTANCE}=~"{ids}"'] if ids else []))
    return f"count((time() - timestamp({inbound(RQ_ACTIVE, mesh, *near)})) < {FRESH})"


def policies(mesh: Mesh) -> dict[str, Autoscale]:
    """Return the policy of each service that has one, in the order of the file."""
    return {name: service.autoscale for name, service in mesh.services.items() if service.autoscale is not None}


def policy_queries(mesh: Mesh) -> list[tuple[str, str]]:
    """Return (policy, query) of all that any policy of a mesh asks a Prometheus; each has data where it has traffic."""
    versions = {name: ["", *(w.version for w in mesh.workloads if w.service == name)] for name in policies(mesh)}
    return [
        (f"services.{service}.autoscale.{metric}", asked(metric, mesh.mesh, service, version))
        for service, policy in policies(mesh).items()
        for metric, _ in policy.targets()
        for version in versions[service]
        for asked in (query, reporting)
    ]
