"""The dashboard of what measures: whether the other dashboards can be believed."""

from dashboards.panels import Panel, Row, Step
from dashboards.parts import WINDOW, label, lines, stat
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import COMPONENT, INSTANCE, RQ_XX, SERVICE, WATCH_CONNECTED, arriving, selector

HEARD = "telemetry_watch_last_event_timestamp_seconds"

OURS = f'{COMPONENT}!=""'


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    name = mesh.mesh
    return (
        Row("Is it measured?", status(name)),
        Row("What it costs", costs(name)),
        Row("What is listed", listed(name)),
    )


def status(mesh: str) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    up = selector("up", mesh)
    return (
        stat("Targets", "Proxies and services of ours that Prometheus reads.", "short", f"count({up})"),
        stat("Down", "Targets that could not be read the last time. Their panels are empty, and their alerts silent.",
             "short", f"count({up}) - sum({up})", (Step(None, "green"), Step(1, "red"))),
        stat("Listed", "Targets that telemetry lists. Fewer in Prometheus: it has not asked yet, or cannot.", "short",
             f"max({selector('telemetry_targets', mesh)})"),
        stat("xds_server is heard", "1 while telemetry hears of instances and changes. At 0 targets are old.", "short",
             f"min({selector(WATCH_CONNECTED, mesh)})", (Step(None, "red"), Step(1, "green"))),
        stat("Measured services", "Services whose request counters Prometheus has; compare it with mesh.yaml.", "short",
             f"count(count by ({SERVICE}) ({arriving(RQ_XX, mesh)}))"),
        stat("Slowest scrape", "Time of the slowest scrape. Above 80 % of the interval samples are lost soon.", "s",
             f"max({selector('scrape_duration_seconds', mesh)})", (Step(None, "green"), Step(8, "orange"))),
    )  # fmt: skip


def costs(mesh: str) -> tuple[Panel, ...]:
    """Return samples and time of scrapes."""
    samples = selector("scrape_samples_scraped", mesh)
    return (
        lines("Samples of all scrapes", "Series that the mesh costs this Prometheus, by service.", "short",
              (f"sum by ({SERVICE}) ({samples})", label(SERVICE))),
        lines("Samples of the largest", "The five targets with the most series. Some 200 a proxy with five calls.",
              "short", (f"topk(5, {samples})", label(INSTANCE))),
        lines("Scrape time", "The five slowest targets. A busy host answers late.", "s",
              (f"topk(5, {selector('scrape_duration_seconds', mesh)})", label(INSTANCE))),
    )  # fmt: skip


def listed(mesh: str) -> tuple[Panel, ...]:
    """Return discovery."""
    asked = selector("telemetry_discovery_requests_total", mesh)
    return (
        lines("Discovery requests", "How often Prometheus asks for targets. At 0 it works from an old list.", "ops",
              (f"sum(rate({asked}{WINDOW}))", "requests")),
        lines("Since xds_server spoke", "Time since telemetry last got something new. Long is calm, not wrong: see "
              "whether it is heard.", "s", (f"time() - {selector(HEARD, mesh)}", label("watch"))),
        lines("Our services", "1 while Prometheus can read each of our own services.", "short",
              (f"min by ({COMPONENT}) ({selector('up', mesh, OURS)})", label(COMPONENT))),
    )  # fmt: skip
