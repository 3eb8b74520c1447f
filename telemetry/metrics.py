"""Every metric that telemetry exports: its own, and the inventory of the mesh."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from legation.runtime.control.messages import RestartReason
from legation.runtime.registry import metrics_registry
from telemetry.autoscale.scaler import Outcome, Scaler
from telemetry.changes import Change
from telemetry.discovery import TargetGroup
from telemetry.inventory import WATCHES, Inventory, services
from telemetry.logs.metrics import LogMetrics
from telemetry.rules.conventions import (
    BLIND,
    CALLER_INFO,
    CHANGE,
    CHANGES,
    CPU_SECONDS,
    DESIRED,
    ENVOY_RESTARTS,
    INSTANCE_HEALTHY,
    INSTANCE_REJECTS,
    INSTANCE_SYNCED,
    LEAST,
    MOST,
    RATIO,
    SERVICE_INFO,
    WATCH_CONNECTED,
)

INSTANCE_LABELS = ("service", "version", "instance_id")
"""`instance_id` and not `instance`: that is telemetry itself, once Prometheus has scraped it."""


class Metrics:
    """The registry of one telemetry service; the inventory is read at each scrape, so nothing stale stays."""

    def __init__(
        self,
        inventory: Callable[[], Inventory],
        targets: Callable[[], tuple[TargetGroup, ...]],
        scaler: Scaler | None = None,
        changes: Callable[[], Sequence[Change]] = tuple,
    ) -> None:
        """Export what the functions return, and what is scaled."""
        self.registry, self._mesh = metrics_registry(), CollectorRegistry()
        self.discoveries = Counter(
            "telemetry_discovery_requests", "Requests for the list of targets", registry=self.registry
        )
        self.registry.register(_OwnCollector(inventory, targets))
        self._mesh.register(_InventoryCollector(inventory))
        self._mesh.register(_ScalingCollector(scaler))
        self._mesh.register(_ChangeCollector(changes))
        self.logs = LogMetrics(self.registry)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format 0.0.4."""
        return self.own() + generate_latest(self._mesh)

    def own(self) -> bytes:
        """Return what telemetry says of itself, and not of the mesh."""
        return generate_latest(self.registry)


class _OwnCollector(Collector):
    """Turns what telemetry hears, and lists, into gauges."""

    def __init__(self, inventory: Callable[[], Inventory], targets: Callable[[], tuple[TargetGroup, ...]]) -> None:
        self._inventory, self._targets = inventory, targets

    def collect(self) -> Iterator[Metric]:
        """Yield the families, always all of them, so that their help texts are there from the start."""
        yield from _watches(self._inventory())
        yield GaugeMetricFamily("telemetry_targets", "Targets that discovery lists now", value=len(self._targets()))


class _InventoryCollector(Collector):
    """Turns the inventory into gauges."""

    def __init__(self, inventory: Callable[[], Inventory]) -> None:
        self._inventory = inventory

    def collect(self) -> Iterator[Metric]:
        """Yield the families, always all of them, as above."""
        inventory = self._inventory()
        yield _services(inventory)
        yield from _instances(inventory)
        yield _callers(inventory)


def _services(inventory: Inventory) -> Metric:
    family = GaugeMetricFamily(
        SERVICE_INFO,
        "1 for each service of mesh.yaml, so that an idle one is listed too",
        labels=("service", "protocol"),
    )
    for service in services(inventory.mesh) if inventory.mesh is not None else ():
        family.add_metric(service, 1)
    return family


def _instances(inventory: Inventory) -> Iterator[Metric]:
    synced = GaugeMetricFamily(
        INSTANCE_SYNCED, "1 when the proxy has ACKed all that it was sent", labels=INSTANCE_LABELS
    )
    rejects = GaugeMetricFamily(INSTANCE_REJECTS, "Types of resources that the proxy NACKs now", labels=INSTANCE_LABELS)
    restarts = CounterMetricFamily(
        ENVOY_RESTARTS.removesuffix("_total"),
        "How often `legation run` has started the proxy again",
        labels=(*INSTANCE_LABELS, "reason"),
    )
    healthy = GaugeMetricFamily(INSTANCE_HEALTHY, "1 when the instance takes requests", labels=INSTANCE_LABELS)
    for instance in inventory.instances or ():
        labels = (instance.spec.service, instance.spec.version, instance.id)
        synced.add_metric(labels, instance.synced)
        rejects.add_metric(labels, len(instance.nacks))
        healthy.add_metric(labels, instance.serves)
        for reason in () if instance.spec.standalone else get_args(RestartReason):
            restarts.add_metric((*labels, reason), instance.envoy_restarts.get(reason, 0))
    yield synced
    yield rejects
    yield restarts
    yield healthy


def _callers(inventory: Inventory) -> Metric:
    """Return who is behind an address, one sample each: PromQL joins nothing to several."""
    family = GaugeMetricFamily(
        CALLER_INFO,
        "1 for each address that instances have, with their ids: who sends plain text from there",
        labels=("source_address", "caller"),
    )
    found: dict[str, set[str]] = {}
    for instance in inventory.instances or ():
        for address in {instance.spec.address, instance.spec.own_address}:
            found.setdefault(address, set()).add(instance.id)
    for address, callers in sorted(found.items()):
        family.add_metric((address, ",".join(sorted(callers))), 1)
    return family


def _watches(inventory: Inventory) -> Iterator[Metric]:
    connected = GaugeMetricFamily(WATCH_CONNECTED, "1 while xds_server sends what this watches", labels=("watch",))
    heard = GaugeMetricFamily(
        "telemetry_watch_last_event_timestamp_seconds", "When xds_server last sent something", labels=("watch",)
    )
    for watch in WATCHES:
        connected.add_metric((watch,), watch in inventory.connected)
        if watch in inventory.heard:
            heard.add_metric((watch,), inventory.heard[watch])
    yield connected
    yield heard


class _ChangeCollector(Collector):
    """Turns the newest changes into series that say when: for the texts of alerts, and Grafana's annotations."""

    SHOWN = 20

    def __init__(self, changes: Callable[[], Sequence[Change]]) -> None:
        self._changes = changes

    def collect(self) -> Iterator[Metric]:
        """Yield the family; of changes that read the same, the newest."""
        family = GaugeMetricFamily(
            CHANGE, "When something in the mesh has changed, and what", labels=("kind", "service", "what", "by")
        )
        newest = {(c.kind, c.service, c.what, c.by): c.at for c in self._changes()[-self.SHOWN :]}
        for labels, at in newest.items():
            family.add_metric(labels, at)
        yield family


class _ScalingCollector(Collector):
    """Turns what autoscaling has decided into metrics."""

    def __init__(self, scaler: Scaler | None) -> None:
        self._scaler = scaler

    def collect(self) -> Iterator[Metric]:
        """Yield the families, always all of them."""
        outcomes = self._scaler.outcomes if self._scaler is not None else {}
        blind = self._scaler is not None and self._scaler.problem is not None
        yield from _numbers(outcomes, blind=blind)
        ratios = GaugeMetricFamily(
            RATIO, "A metric by its target: above 1.1 there are too few instances", labels=(*_VERSIONED, "metric")
        )
        used = CounterMetricFamily(
            CPU_SECONDS.removesuffix("_total"), "Processor time of the instance's app", labels=INSTANCE_LABELS
        )
        changes = CounterMetricFamily(
            CHANGES.removesuffix("_total"), "Changes of the number of instances", labels=(*_VERSIONED, "direction")
        )
        for key, outcome in outcomes.items():
            for metric, ratio in outcome.decision.ratios.items():
                ratios.add_metric((*key, metric), ratio)
            for instance, seconds in outcome.workload.cpu_seconds.items():
                used.add_metric((*key, instance), seconds)
        for labels, count in (self._scaler.counts if self._scaler is not None else {}).items():
            changes.add_metric(labels, count)
        yield from (ratios, used, changes)


_VERSIONED = ("service", "version")


def _numbers(outcomes: Mapping[tuple[str, str], Outcome], *, blind: bool) -> Iterator[Metric]:
    """Yield how many instances are desired, between what, and whether that rests on data."""
    desired = GaugeMetricFamily(DESIRED, "Instances that there are to be, by the load", labels=_VERSIONED)
    least = GaugeMetricFamily(LEAST, "The fewest that the policy allows", labels=_VERSIONED)
    most = GaugeMetricFamily(MOST, "The most that the policy allows", labels=_VERSIONED)
    unknown = GaugeMetricFamily(BLIND, "1 while a metric is not known: then none are taken away", labels=_VERSIONED)
    for key, outcome in outcomes.items():
        desired.add_metric(key, outcome.workload.desired)
        least.add_metric(key, outcome.policy.min)
        most.add_metric(key, outcome.policy.max)
        unknown.add_metric(key, blind or outcome.decision.blind)
    yield from (desired, least, most, unknown)
