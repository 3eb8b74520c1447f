"""The dashboard of one proxy: is it connected, configured, certified, and what passes through it."""

from dashboards.panels import YES, Panel, Row
from dashboards.parts import BAD, GOOD, WINDOW, label, life_steps, lines, stat
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.configuration import WARMING, XDS
from telemetry.rules.alerts.traffic import HANDSHAKES
from telemetry.rules.conventions import (
    CERTIFICATE,
    CLASS,
    CONTROL_STREAMS,
    EXPIRY,
    INSTANCE,
    INSTANCE_ID,
    INSTANCE_REJECTS,
    INSTANCE_SYNCED,
    RQ_ACTIVE,
    RQ_XX,
    UPTIME,
    arriving,
    calls,
    selector,
)
from telemetry.rules.edges import any_calls, with_destination

CHOSEN = f'{INSTANCE}="$instance"'
TOLD = f'{INSTANCE_ID}="$instance"'


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    return (Row("Is it well?", status(mesh)), Row("What passes through", traffic(mesh)), Row("Its state", state(mesh)))


def status(mesh: Mesh) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    name = mesh.mesh
    own = selector(EXPIRY, name, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    return (
        stat("Measured", "Whether Prometheus can read this proxy. If not, nothing below is of now.", YES,
             f"min({selector('up', name, CHOSEN)})", GOOD),
        stat("Control plane", "Whether it is connected to xds_server. If not, it serves on with what it has, and "
             "misses changes.", YES, f"min({selector(CONTROL_STREAMS, name, CHOSEN, XDS)}) > bool 0", GOOD),
        stat("Synced", "Whether it has ACKed all that it was sent. legation status says what is missing.", YES,
             f"max({selector(INSTANCE_SYNCED, name, TOLD)})", GOOD),
        stat("Rejects", "Types of resources that it NACKs now; it keeps the last good ones. legation status says why.",
             "short", f"max({selector(INSTANCE_REJECTS, name, TOLD)})", BAD),
        stat("Certificate", "Time that its certificate still has. Orange and red mean that renewal fails.", "s",
             f"min({own})", life_steps(mesh)),
        stat("Up for", "Time since its Envoy started. It should only fall when somebody meant it to.", "s",
             f"max({selector(UPTIME, name, CHOSEN)})"),
    )  # fmt: skip


def traffic(mesh: Mesh) -> tuple[Panel, ...]:
    """Return what reaches it and what it sends."""
    name = mesh.mesh
    sent = with_destination(f"rate({calls(RQ_XX, name, CHOSEN)}{WINDOW})")
    idle = f"0 * group({selector(UPTIME, name, CHOSEN)})"
    nothing = f'label_replace({idle}, "destination", "calls nobody", "", "")'
    outgoing = (
        lines(
            "Requests sent",
            "Requests a second that this instance's app sends, by called service.",
            "reqps",
            (
                f"sum by (destination) ({sent}) or on () {nothing}",
                label("destination"),
            ),
        ),
    )
    return (
        lines(
            "Answers by status class",
            "Attempts a second that this instance answered, by class. Compare it with its sisters.",
            "reqps",
            (f"sum by ({CLASS}) (rate({arriving(RQ_XX, name, CHOSEN)}{WINDOW}))", label(CLASS) + "xx"),
        ),
        lines(
            "Requests in flight",
            "Requests that it works on now. One that stands out from its sisters is slow or stuck.",
            "short",
            (f"sum by ({INSTANCE}) ({arriving(RQ_ACTIVE, name, CHOSEN)})", label(INSTANCE)),
        ),
        *(outgoing if any_calls(mesh) else ()),
    )


def state(mesh: Mesh) -> tuple[Panel, ...]:
    """Return its life, its identity and its configuration over time."""
    name = mesh.mesh
    left = selector(EXPIRY, name, CHOSEN, f'{CERTIFICATE}="{names.MESH_CERT}"')
    present = f"0 * group({selector(UPTIME, name, CHOSEN)})"
    failed = tuple(
        (f"sum(rate({selector(f'envoy_listener_ssl_{kind}', name, CHOSEN)}{WINDOW})) or on () {present}", what)
        for kind, what in HANDSHAKES.items()
    )
    return (
        lines(
            "Certificate over time",
            "Time that its certificate still has. A healthy one is a saw-tooth between the whole of its life and half "
            "of it.",
            "s",
            (f"min({left})", "left"),
        ),
        lines(
            "Warming",
            "Clusters and listeners that wait for endpoints or a certificate. They should be back at 0 in seconds.",
            "short",
            *((f"sum({selector(metric, name, CHOSEN)})", what) for what, metric in WARMING.items()),
        ),
        lines(
            "Failed handshakes",
            "Connections a second that it turned away. A gateway takes plain HTTP, and has none.",
            "ops",
            *failed,
        ),
    )
