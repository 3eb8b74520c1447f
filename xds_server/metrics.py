"""What xds_server counts. Every series is declared here; labels are fixed."""

from collections import Counter as Counted

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from legation.runtime.control.messages import InstanceList
from xds_server.protocol.types import Acked, Effect, Nacked, Send, Stale
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
        self.sent = Counter("xds_responses_total", "Responses written", ["type"], registry=registry)
        self.acked = Counter("xds_acks_total", "Responses that a proxy applied", ["type"], registry=registry)
        self.nacked = Counter("xds_nacks_total", "Responses that a proxy NACKed", ["type"], registry=registry)
        self.stale = Counter("xds_stale_total", "Answers to responses that were none", ["type"], registry=registry)
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

        self._of_kind = {Send: self.sent, Acked: self.acked, Nacked: self.nacked, Stale: self.stale}
        self._answers: dict[tuple[type, str], Counter] = {}
        self._begin_at_0()

    def _begin_at_0(self) -> None:
        """Show each counter before its first hit: to Prometheus, a series that begins at 1 has not increased."""
        for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
            for counter in (self.sent, self.acked, self.nacked, self.stale):
                counter.labels(_kind(url))
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
        if isinstance(effect, Send | Acked | Nacked | Stale):
            key = type(effect), effect.type_url
            counter = self._answers.get(key)
            if counter is None:
                counter = self._answers[key] = self._of_kind[type(effect)].labels(_kind(effect.type_url))
            counter.inc()


def _kind(type_url: str) -> str:
    """Return what a type of resource is called in labels: its message's name."""
    return type_url.rpartition(".")[2]
