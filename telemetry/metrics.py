"""Every metric that telemetry exports: its own, and the inventory of the mesh."""

from collections.abc import Callable, Iterator

from prometheus_client import Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from legation.runtime.registry import metrics_registry
from telemetry.discovery import TargetGroup
from telemetry.inventory import WATCHES, Inventory, services
from telemetry.rules.conventions import (
    INSTANCE_HEALTHY,
    INSTANCE_REJECTS,
    INSTANCE_SYNCED,
    SERVICE_INFO,
    WATCH_CONNECTED,
)

INSTANCE_LABELS = ("service", "version", "instance_id")
"""`instance_id` and not `instance`: that is telemetry itself, once Prometheus has scraped it."""


class Metrics:
    """The registry of one telemetry service; the inventory is read at each scrape, so nothing stale stays."""

    def __init__(self, inventory: Callable[[], Inventory], targets: Callable[[], tuple[TargetGroup, ...]]) -> None:
        """Export what the two functions return."""
        self._registry = metrics_registry()
        self.discoveries = Counter(
            "telemetry_discovery_requests", "Requests for the list of targets", registry=self._registry
        )
        self._registry.register(_InventoryCollector(inventory, targets))

    def text(self) -> bytes:
        """Return everything in Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)


class _InventoryCollector(Collector):
    """Turns the inventory into gauges."""

    def __init__(self, inventory: Callable[[], Inventory], targets: Callable[[], tuple[TargetGroup, ...]]) -> None:
        self._inventory, self._targets = inventory, targets

    def collect(self) -> Iterator[Metric]:
        """Yield the families, always all of them, so that their help texts are there from the start."""
        inventory = self._inventory()
        yield _services(inventory)
        yield from _instances(inventory)
        yield from _watches(inventory)
        yield GaugeMetricFamily("telemetry_targets", "Targets that discovery lists now", value=len(self._targets()))


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
    healthy = GaugeMetricFamily(INSTANCE_HEALTHY, "1 when the instance takes requests", labels=INSTANCE_LABELS)
    for instance in inventory.instances or ():
        labels = (instance.spec.service, instance.spec.version, instance.id)
        synced.add_metric(labels, instance.synced)
        rejects.add_metric(labels, len(instance.nacks))
        healthy.add_metric(labels, instance.serves)
    yield synced
    yield rejects
    yield healthy


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
