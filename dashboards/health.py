"""The dashboard of what measures: whether the other dashboards can be believed."""

from dashboards.panels import YES, Panel, Row, Step
from dashboards.parts import BAD, GOOD, WINDOW, label, lines, or_none, stat
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.records import LOGS_DROPPED, LOST, OWN_SPANS, REASON, RECORDS_DROPPED, SPANS_DROPPED
from telemetry.rules.conventions import COMPONENT, INSTANCE, RQ_XX, SERVICE, WATCH_CONNECTED, arriving, selector

HEARD = "telemetry_watch_last_event_timestamp_seconds"

OURS = f'{COMPONENT}!=""'
TARGETS, WHOSE = f"{SERVICE}, {COMPONENT}", label(SERVICE) + label(COMPONENT)
"""A target is of a service, or one of our own parts: it has one label or the other."""


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    name = mesh.mesh
    return (
        Row("Is it measured?", status(name)),
        Row("What it costs", costs(name)),
        Row("What is listed", listed(name)),
        Row("Logs and spans", records(mesh)),
    )


def status(mesh: str) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    up = selector("up", mesh)
    return (
        stat("Targets", "Proxies and services of ours that Prometheus reads.", "short", f"count({up})"),
        stat("Down", "Targets that could not be read the last time. Their panels are empty, and their alerts silent.",
             "short", f"count({up}) - sum({up})", BAD),
        stat("Listed", "Targets that telemetry lists. Fewer in Prometheus: it has not asked yet, or cannot.", "short",
             f"max({selector('telemetry_targets', mesh)})"),
        stat("xds_server is heard", "Whether telemetry hears of instances and changes. If not, targets are old.", YES,
             f"min({selector(WATCH_CONNECTED, mesh)})", GOOD),
        stat("Measured services", "Services whose request counters Prometheus has; compare it with mesh.yaml.", "short",
             f"count(count by ({SERVICE}) ({arriving(RQ_XX, mesh)}))"),
        stat("Slowest scrape", "Time of the slowest scrape. Above 80 % of the interval samples are lost soon.", "s",
             f"max({selector('scrape_duration_seconds', mesh)})", (Step(None, "green"), Step(8, "orange"))),
    )  # fmt: skip


def costs(mesh: str) -> tuple[Panel, ...]:
    """Return samples and time of scrapes."""
    samples = selector("scrape_samples_scraped", mesh)
    return (
        lines("Samples of all scrapes", "Series that the mesh costs this Prometheus, by service, and by part of ours.",
              "short", (f"sum by ({TARGETS}) ({samples})", WHOSE)),
        lines("Samples of the largest", "Series of the target with the most, of each service. Some 200 a proxy with "
              "five calls (`metrics: {profile: full}` costs far more).", "short",
              (f"max by ({TARGETS}) ({samples})", WHOSE)),
        lines("Scrape time", "The slowest target of each service. A busy host answers late.", "s",
              (f"max by ({TARGETS}) ({selector('scrape_duration_seconds', mesh)})", WHOSE)),
    )  # fmt: skip


def records(mesh: Mesh) -> tuple[Panel, ...]:
    """Return what is kept of logs, and what is lost of logs and spans."""
    name = mesh.mesh
    lost = {"access logs": LOGS_DROPPED, **({"spans": SPANS_DROPPED} if mesh.tracing is not None else {})}
    dropped = f"sum by ({REASON}) (rate({selector(RECORDS_DROPPED, name)}{WINDOW}))"
    return (
        lines("Log records kept", "Records a second that telemetry keeps: of proxies (access) and of apps. `legation "
              "logs` searches them.", "ops",
              (f"sum by (kind) (rate({selector('telemetry_log_records_total', name)}{WINDOW}))", label("kind"))),
        lines("Lost by telemetry", "Log records a second that came in and were not kept, or not passed on, by reason. "
              "MeshLogRecordsDropped's page says what each means.", "ops", (dropped, label(REASON))),
        lines("Lost by proxies", "Records of access logs, and spans, that proxies drop a second, as nobody takes them: "
              "telemetry, or the receiver of traces, is away or hangs.", "ops",
              *((or_none(f"sum(rate({selector(metric, name)}{WINDOW}))", "what", name), what)
                for what, metric in lost.items())),
        lines("Size of the log", "What telemetry keeps on disk. At its limit (logging.max_megabytes) the oldest goes.",
              "decbytes", (f"sum({selector('telemetry_log_store_bytes', name)})", "kept")),
        *(own_spans(name) if mesh.tracing is not None else ()),
    )  # fmt: skip


def own_spans(mesh: str) -> tuple[Panel, ...]:
    """Return what becomes of the spans of our own services' work."""
    lost = f"sum by ({INSTANCE}) (rate({selector(OWN_SPANS, mesh, LOST)}{WINDOW}))"
    return (
        lines("Our own spans lost", "Spans a second of our own services' work (changes, certificates, instances) that "
              "the receiver of traces does not take. Above 0: it is away, or too slow; MeshOwnSpansLost tells of it.",
              "ops", (lost, label(INSTANCE))),
    )  # fmt: skip


def listed(mesh: str) -> tuple[Panel, ...]:
    """Return discovery."""
    asked = selector("telemetry_discovery_requests_total", mesh)
    return (
        lines("Discovery requests", "How often Prometheus asks for targets. At 0 it works from an old list.", "ops",
              (f"sum(rate({asked}{WINDOW}))", "requests")),
        lines("Since xds_server spoke", "Time since telemetry last got something new. Long is calm, not wrong: see "
              "whether it is heard.", "s", (f"time() - {selector(HEARD, mesh)}", label("watch"))),
        lines("Our services", "Whether Prometheus can read each of our own services.", YES,
              (f"min by ({COMPONENT}) ({selector('up', mesh, OURS)})", label(COMPONENT))),
    )  # fmt: skip
