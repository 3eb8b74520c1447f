"""The dashboard of our own services: xds_server, certmgr, telemetry, and the Vault behind them."""

from dashboards.panels import YES, Panel, Row
from dashboards.parts import BAD, GOOD, WINDOW, label, lines, stat
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.components import STARTED, STORE_FAILURES, VAULT_UP
from telemetry.rules.conventions import COMPONENT, INSTANCE_REJECTS, INSTANCE_SYNCED, WATCH_CONNECTED, selector

OURS = f'{COMPONENT}!=""'


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    name = mesh.mesh
    return (
        Row("Is it well?", status(name)),
        Row("How changes reach the proxies", changes(name)),
        Row("The processes", processes(name)),
    )


def status(mesh: str) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    return (
        stat("Proxies", "Streams of proxies to xds_server that are up now.", "short",
             f"sum({selector('xds_streams', mesh)})"),
        stat("Not synced", "Proxies that have not ACKed all that they were sent. legation status names them.", "short",
             f"sum(1 - {selector(INSTANCE_SYNCED, mesh)})", BAD),
        stat("Rejected", "Types of resources that proxies NACK now, all together. legation status says why.", "short",
             f"sum({selector(INSTANCE_REJECTS, mesh)})", BAD),
        stat("Vault", "Whether certmgr reaches Vault and finds it unsealed. If not, nothing is renewed.", YES,
             f"min({selector(VAULT_UP, mesh)})", GOOD),
        stat("telemetry hears", "Whether xds_server tells telemetry of changes. If not, targets are old.", YES,
             f"min({selector(WATCH_CONNECTED, mesh)})", GOOD),
        stat("Youngest process", "Time since the last of our services started.", "s",
             f"min(time() - {selector(STARTED, mesh, OURS)})"),
    )  # fmt: skip


def changes(mesh: str) -> tuple[Panel, ...]:
    """Return xds_server's work."""
    calm = f"0 * group({selector('xds_streams', mesh)})"
    took = f"sum by (le) (rate({selector('xds_convergence_seconds_bucket', mesh)}{WINDOW}))"
    return (
        lines(
            "Responses, ACKs, NACKs",
            "What xds_server sends and what proxies answer, a second. NACKs above 0 are rejected configuration.",
            "ops",
            *(
                (f"sum(rate({selector(f'xds_{kind}_total', mesh)}{WINDOW}))", kind)
                for kind in ("responses", "acks", "nacks", "stale")
            ),
        ),
        lines(
            "Time to the last ACK",
            "From a change until the last proxy has it. 0: no change. Seconds mean a slow or stuck proxy.",
            "s",
            (f"(histogram_quantile(0.5, {took}) >= 0) or on () {calm}", "p50"),
            (f"(histogram_quantile(0.99, {took}) >= 0) or on () {calm}", "p99"),
        ),
        lines(
            "Changes of mesh.yaml",
            "Changes in an hour that were applied, changed nothing, or were rejected because of a fault in the file.",
            "short",
            (f"sum by (outcome) (increase({selector('xds_applies_total', mesh)}[1h]))", label("outcome")),
        ),
        lines(
            "Refused",
            "Streams that were not admitted (a wrong identity), and writes that the store refused (a full disk).",
            "ops",
            (f"sum(rate({selector('xds_streams_rejected_total', mesh)}{WINDOW}))", "streams"),
            (f"sum(rate({selector(STORE_FAILURES, mesh)}{WINDOW}))", "writes"),
        ),
        lines(
            "Instances by state",
            "Registered instances. Many in restarting or draining at once: a deployment, or a crash loop.",
            "short",
            (f"sum by (state) ({selector('xds_instances', mesh)})", label("state")),
        ),
    )


def processes(mesh: str) -> tuple[Panel, ...]:
    """Return what our services use."""
    cpu, files = (selector(f"process_{what}", mesh, OURS) for what in ("cpu_seconds_total", "open_fds"))
    return (
        lines("Cores in use", "Cores that each of our services uses. They rest while nothing changes.", "short",
              (f"sum by ({COMPONENT}) (rate({cpu}{WINDOW}))", label(COMPONENT))),
        lines("Memory", "Resident memory of each of our services. It grows with the mesh, not with time.", "decbytes",
              (f"sum by ({COMPONENT}) ({selector('process_resident_memory_bytes', mesh, OURS)})", label(COMPONENT))),
        lines("Open files", "Share of the allowed open files that each service uses: two a proxy.", "percentunit",
              (f"sum by ({COMPONENT}) ({files} / {selector('process_max_fds', mesh, OURS)})", label(COMPONENT))),
    )  # fmt: skip
