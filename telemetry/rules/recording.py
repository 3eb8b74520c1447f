"""The recorded series of a mesh: rate, errors and duration of each service, and what an operator watches beside."""

from telemetry.rules.conventions import (
    CERTIFICATE,
    CLASS,
    CLUSTER_EXPIRY,
    ERROR_RATIO,
    ERRORS,
    EXPIRY,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    LATENCY,
    LISTENER_EXPIRY,
    MESH,
    QUANTILES,
    REFUSED,
    REJECTED,
    REQUESTS,
    RQ_TIME,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    inbound,
    selector,
)
from telemetry.rules.rule import Group, Recording

BY_SERVICE = f"{MESH}, {SERVICE}"
BY_INSTANCE = f"{MESH}, {SERVICE}, {INSTANCE}"


def recording_groups(mesh: str) -> tuple[Group, ...]:
    """Return the groups of recorded series of a mesh. A rule comes after what it reads."""
    return (
        Group(f"{mesh}-requests", requests(mesh)),
        Group(f"{mesh}-latency", latency(mesh)),
        Group(f"{mesh}-proxies", (certificate_expiry(mesh), config_rejected(mesh), instances_healthy(mesh))),
    )


def requests(mesh: str) -> tuple[Recording, ...]:
    """Return the requests a second of each service, those that failed (5xx), and their share.

    A service without traffic has a share of 0; one whose proxies do not report has none.
    """
    failed = inbound(RQ_XX, mesh, f'{CLASS}="5"')
    share = f"{selector(ERRORS, mesh)} / ({selector(REQUESTS, mesh)} > 0)"
    return (
        Recording(REQUESTS, f"sum by ({BY_SERVICE}) (rate({inbound(RQ_XX, mesh)}[5m]))"),
        Recording(ERRORS, f"sum by ({BY_SERVICE}) (rate({failed}[5m]))"),
        Recording(ERROR_RATIO, f"clamp_max({share}, 1) or 0 * {selector(REQUESTS, mesh)}"),
    )


def latency(mesh: str) -> tuple[Recording, ...]:
    """Return the latency quantiles of each service in seconds; Envoy measures milliseconds."""
    buckets = f"sum by ({BY_SERVICE}, le) (rate({inbound(RQ_TIME, mesh)}[5m]))"
    return tuple(
        Recording(LATENCY[name], f"histogram_quantile({quantile}, {buckets}) / 1000")
        for name, quantile in QUANTILES.items()
    )


def certificate_expiry(mesh: str) -> Recording:
    """Return how many seconds each proxy's certificates and trust bundle still have, by the SDS secret's name.

    `envoy_server_days_until_first_cert_expiring` counts whole days and never goes below 0:
    useless for certificates that live for an hour.
    """
    at = f"{selector(LISTENER_EXPIRY, mesh)} or {selector(CLUSTER_EXPIRY, mesh)}"
    return Recording(EXPIRY, f"min by ({BY_INSTANCE}, {CERTIFICATE}) ({at}) - time()")


def config_rejected(mesh: str) -> Recording:
    """Return how many configuration updates each proxy refused (NACKed) in ten minutes, by resource type."""
    parts = (
        f'label_replace(increase({selector(metric, mesh)}[10m]), "type", "{kind}", "", "")'
        for kind, metric in REJECTED.items()
    )
    return Recording(REFUSED, f"sum by ({BY_INSTANCE}, type) ({' or '.join(parts)})")


def instances_healthy(mesh: str) -> Recording:
    """Return how many instances of each service take requests; 0 for one that has none at all."""
    listed = f"0 * group by ({BY_SERVICE}) ({selector(SERVICE_INFO, mesh)})"
    return Recording(HEALTHY, f"sum by ({BY_SERVICE}) ({selector(INSTANCE_HEALTHY, mesh)}) or {listed}")
