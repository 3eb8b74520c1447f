"""What xds_server counts. Every series is declared here; labels are fixed."""

from collections import Counter as Counted
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from legation.runtime.control.messages import InstanceList
from xds_server.protocol.types import Acked, Acknowledged, Effect, Nacked, Send, Stale, Subscribed
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """xds_server's series in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.registry = registry
        self.streams = Gauge("xds_streams", "ADS streams that are up", registry=registry)
        self.instances = Gauge("xds_instances", "Registered instances", ["service", "state"], registry=registry)
        self.rejected = Counter("xds_streams_rejected_total", "Streams that were not admitted", registry=registry)
        self.applies = Counter("xds_applies_total", "Changes of the mesh file", ["outcome"], registry=registry)
        self.proofs = Counter(
            "xds_proofs_total", "Changed meshes that an Envoy was to try", ["outcome"], registry=registry
        )
        self.proof = Histogram(
            "xds_proof_seconds", "How long an Envoy tried a changed mesh", buckets=_BUCKETS, registry=registry
        )
        self.store_failures = Counter(
            "xds_store_failures_total", "Writes that the store failed to make", registry=registry
        )
        self.convergence = Histogram(
            "xds_convergence_seconds",
            "From a change's acceptance to the last proxy's answer",
            buckets=_BUCKETS,
            registry=registry,
        )

        self._effects = _Effects()
        registry.register(self._effects)
        self._begin_at_0()

    def _begin_at_0(self) -> None:
        """Show each counter before its first hit: to Prometheus, a series that begins at 1 has not increased."""
        for outcome in ("applied", "unchanged", "rejected"):
            self.applies.labels(outcome)
        for outcome in ("accepted", "rejected", "skipped"):
            self.proofs.labels(outcome)

    def count_instances(self, registry: InstanceList) -> None:
        """Set how many instances of each service are in which state."""
        self.instances.clear()
        for (service, state), count in Counted((i.spec.service, i.state) for i in registry.instances).items():
            self.instances.labels(service, state).set(count)

    def observe(self, effect: Effect) -> None:
        """Count what a stream's core saw."""
        if not isinstance(effect, Subscribed | Acknowledged):
            self._effects.count[type(effect), effect.type_url] += 1


class _Effects(Collector):
    """What a change does thousands of times: counted as plain numbers, and made series of when somebody asks."""

    _SERIES = (
        (Send, "xds_responses", "Responses written"),
        (Acked, "xds_acks", "Responses that a proxy applied"),
        (Nacked, "xds_nacks", "Responses that a proxy NACKed"),
        (Stale, "xds_stale", "Answers to responses that were none"),
    )

    def __init__(self) -> None:
        kinds = [kind for kind, _, _ in self._SERIES]
        self.count = Counted({(kind, url): 0 for kind in kinds for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)})

    def collect(self) -> Iterator[CounterMetricFamily]:
        known = dict(self.count)  # whoever asks does so from another thread
        for kind, name, words in self._SERIES:
            family = CounterMetricFamily(name, words, labels=["type"])
            for (counted, url), times in known.items():
                if counted is kind:
                    family.add_metric([_kind(url)], times)
            yield family


def _kind(type_url: str) -> str:
    """Return what a type of resource is called in labels: its message's name."""
    return type_url.rpartition(".")[2]
