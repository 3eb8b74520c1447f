"""Our own services: what certmgr and xds_server say of themselves, and of the Vault behind them."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, a_proxy
from telemetry.rules.conventions import CERTIFICATE, COMPONENT, EXPIRY, INSTANCE, LISTENER_EXPIRY, MESH, selector
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, duration, fires, silent

VAULT_UP = "certmgr_vault_up"
STORE_FAILURES = "xds_store_failures_total"
STARTED = "process_start_time_seconds"
CA_LEFT = timedelta(days=30)
"""A new root needs days until every proxy of every team trusts it."""
DEV_CA_LEFT = timedelta(days=2)
"""Of a CA for trying things out, whose root lives seven days and is followed by another one at half of that."""


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    return (vault_down(mesh), ca_expires(mesh), not_stored(mesh), component_restarts(mesh))


def component(mesh: Mesh, name: str) -> Labels:
    """Return the labels of one of our own services."""
    return {MESH: mesh.mesh, COMPONENT: name, INSTANCE: name}


def vault_down(mesh: Mesh) -> Alert:
    """Return the alert on a Vault that signs nothing; it comes before those on certificates."""
    certmgr = component(mesh, "certmgr")
    return Alert(
        name="MeshVaultDown",
        terms=(Term(selector(VAULT_UP, mesh.mesh), "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} cannot reach Vault, or finds it sealed",
        description="Proxies serve on with the certificates that they have; none is renewed. Certificates are renewed "
        "at half of their life, so half of it is left to mend this.",
        runbook="`legation status` says how long it is until the first certificate expires. Start or unseal Vault: "
        "certmgr finds it by itself.",
        dashboard="control",
        cases=(
            Case(
                "sealed for ten minutes",
                [Series(VAULT_UP, certmgr, "1x9 0x9 1x20")],
                [*silent(10), fires(15, Firing(certmgr, "0")), *silent(25)],
            ),
            Case("a restart", [Series(VAULT_UP, certmgr, "1x9 0 1x20")], silent(10, 12)),
            Case("no data", [], silent(15)),
        ),
    )


def ca_expires(mesh: Mesh) -> Alert:
    """Return the alert on the trust bundle."""
    proxy = {**a_proxy(mesh), CERTIFICATE: names.MESH_CA}
    limit, day = int((DEV_CA_LEFT if mesh.certificates.dev else CA_LEFT).total_seconds()), 86400
    return Alert(
        name="MeshTrustBundleExpires",
        terms=(Term(selector(EXPIRY, mesh.mesh, f'{CERTIFICATE}="{names.MESH_CA}"'), f"< {limit}"),),
        severity="ticket",
        summary="the CA that {{ $labels.instance }} trusts expires in {{ $value | humanizeDuration }}",
        description="When it expires, no certificate of the mesh is valid any more, and every call fails. A new root "
        "has to be trusted everywhere before the first certificate under it is used.",
        runbook="Have the security team rotate the root, or the intermediate, in Vault; certmgr takes the new one with "
        "the next renewal. See docs/certificates.md. The embedded OpenBao's root (`certificates: {dev: true}`) is "
        "followed by another one by itself, at half of its seven days: `legation certs rollover status` says how far.",
        dashboard="security",
        cases=(
            Case(
                "a year's CA in its last month, and a new one",
                [Series(LISTENER_EXPIRY, proxy, f"{limit + 600}x19 {limit + 400 * day}x20")],
                [*silent(5), fires(15, Firing(proxy, duration(limit - 300))), *silent(25)],
            ),
            Case(
                "a leaf certificate lives an hour",
                [Series(LISTENER_EXPIRY, {**proxy, CERTIFICATE: names.MESH_CERT}, "3600x30")],
                silent(15),
            ),
            Case("no data", [], silent(15)),
        ),
    )


def not_stored(mesh: Mesh) -> Alert:
    """Return the alert on a registry that would not survive a restart."""
    xds = component(mesh, "xds_server")
    return Alert(
        name="MeshRegistryNotStored",
        terms=(Term(f"increase({selector(STORE_FAILURES, mesh.mesh)}[10m])", "> 0"),),
        severity="ticket",
        summary="xds_server cannot write its registry",
        description="Writes to the store of {{ $labels.instance }} failed in the last ten minutes. It serves on from "
        "memory; a restart would come up with an older state.",
        runbook="Most often the disk is full, or read-only: xds_server's log has the store's own words. What it lacks "
        "is written with the next change.",
        dashboard="control",
        cases=(
            Case(
                "a full disk for a minute",
                [Series(STORE_FAILURES, xds, "0x9 2x40")],
                [*silent(9), fires(15, Firing(xds)), *silent(25)],
            ),
            Case("every write succeeds", [Series(STORE_FAILURES, xds, "0x30")], silent(15)),
            Case("no data", [], silent(15)),
        ),
    )


def component_restarts(mesh: Mesh) -> Alert:
    """Return the alert on a service of ours that does not stay up."""
    xds = component(mesh, "xds_server")
    return Alert(
        name="MeshComponentRestarts",
        terms=(Term(f"changes({selector(STARTED, mesh.mesh)}[15m])", ">= 3"),),
        severity="ticket",
        summary="{{ $labels.instance }} has restarted {{ $value }} times in 15 minutes",
        description="{{ $labels.instance }} ends again and again. Proxies serve on meanwhile.",
        runbook="Its log is in the state folder under `logs/`; `legation status` has its last words.",
        dashboard="control",
        cases=(
            Case(
                "crashes every three minutes, and then no more",
                [Series(STARTED, xds, "100x9 700x2 900x2 1100x2 1300x40")],
                [*silent(9), fires(20, Firing(xds, "4")), *silent(50)],
            ),
            Case("one restart", [Series(STARTED, xds, "100x9 700x40")], silent(12)),
            Case("no data", [], silent(15)),
        ),
    )
