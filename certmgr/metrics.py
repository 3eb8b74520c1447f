"""certmgr's metrics."""

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from certmgr.core.rollover import PHASES
from legation.mesh.rollover import Standing


class Metrics:
    """What certmgr counts; the registry is the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self.registry = registry
        self.expiry = Gauge(
            "certmgr_certificate_expiry_timestamp_seconds",
            "When an identity's certificate expires, in seconds since the epoch",
            ["identity"],
            registry=registry,
        )
        self.site_expiry = Gauge(
            "certmgr_edge_certificate_expiry_timestamp_seconds",
            "When the certificate that the gateway shows for a service expires, in seconds since the epoch",
            ["service"],
            registry=registry,
        )
        self.site_broken = Gauge(
            "certmgr_edge_certificate_broken",
            "1 while a service's files for the gateway cannot be used, and the last good ones stay on show",
            ["service"],
            registry=registry,
        )
        self.renewals = Counter(
            "certmgr_renewals",
            "Attempts to issue an identity's certificate",
            ["identity", "outcome"],
            registry=registry,
        )
        self.streams = Gauge("certmgr_sds_streams", "Open SDS streams of an identity", ["identity"], registry=registry)
        self.vault_up = Gauge("certmgr_vault_up", "1 when Vault answers and is unsealed", registry=registry)
        self.logins = Counter("certmgr_vault_logins", "Logins of this host to Vault", ["outcome"], registry=registry)
        self.issue_seconds = Histogram(
            "certmgr_issue_seconds", "Time of one issue, from the key to the verified answer", registry=registry
        )
        self.failures = Counter(
            "certmgr_issue_failures", "Attempts that failed, by what kept them", ["kind"], registry=registry
        )
        self.nacks = Counter("certmgr_sds_nacks", "Secrets that a proxy refused", ["identity"], registry=registry)
        self.crl_ends = Gauge(
            "certmgr_crl_expiry_timestamp_seconds",
            "When the list of revoked certificates on show ends; 0 while none is shown",
            registry=registry,
        )
        self.crl_entries = Gauge("certmgr_crl_entries", "Certificates on that list", registry=registry)
        self.alarms = Counter(
            "certmgr_alarms", "Signs of an attack, which somebody should look at", ["kind"], registry=registry
        )
        self.wire_looks = Counter(
            "certmgr_wire_looks",
            "Handshakes with this host's proxies, to see which certificate they show",
            ["outcome"],
            registry=registry,
        )
        self.wire_wrong = Gauge(
            "certmgr_wire_wrong",
            "Proxies of an identity that show another certificate than they should",
            ["identity"],
            registry=registry,
        )
        self.phase = Gauge(
            "certmgr_rollover_phase", "1 for the phase that a roll-over of the CA is at", ["phase"], registry=registry
        )
        self.waits = Gauge(
            "certmgr_rollover_waiting",
            "Whom a roll-over of the CA waits for: proxies, hosts, people",
            registry=registry,
        )
        self.seconds_to_outage = Gauge(
            "certmgr_seconds_to_outage",
            "Seconds until the first certificate in use expires; NaN when there is none",
            registry=registry,
        )

        for phase in PHASES:
            self.phase.labels(phase)
        for outcome in ("right", "wrong", "unreached"):
            self.wire_looks.labels(outcome)

    def roll_over(self, standing: Standing, waits: tuple[str, ...]) -> None:
        """Take where a roll-over stands, and whom it waits for."""
        for phase in PHASES:
            self.phase.labels(phase).set(standing.rollover is not None and standing.rollover.phase == phase)
        self.waits.set(len(waits))

    def logged_in(self, outcome: str) -> None:
        """Count a login of this host."""
        self.logins.labels(outcome).inc()

    def expect(self, identity: str) -> None:
        """Count an identity from 0: the first failure of a counter that is not there yet is no increase."""
        for outcome in ("issued", "failed"):
            self.renewals.labels(identity, outcome)

    def forget(self, identity: str) -> None:
        """Take an identity that left the mesh out."""
        for family, labels in (
            (self.expiry, (identity,)),
            (self.streams, (identity,)),
            (self.nacks, (identity,)),
            (self.wire_wrong, (identity,)),
            (self.renewals, (identity, "issued")),
            (self.renewals, (identity, "failed")),
        ):
            with suppress(KeyError):
                family.remove(*labels)

    def forget_site(self, service: str) -> None:
        """Take a service out that the gateway shows no certificate for any more."""
        for family in (self.site_expiry, self.site_broken):
            with suppress(KeyError):
                family.remove(service)
