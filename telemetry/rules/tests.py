"""The promtool tests of each alert: it fires, it stays silent, it resolves, and what it does without data."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerting import PAGE_LIFE, TICKET_LIFE
from telemetry.rules.conventions import (
    CERTIFICATE,
    CLASS,
    CONNECTED,
    INSTANCE,
    INSTANCE_HEALTHY,
    LISTENER_EXPIRY,
    MESH,
    PREFIX,
    REJECTED,
    RQ_XX,
    SERVICE,
    SERVICE_INFO,
    WATCH_CONNECTED,
)
from telemetry.rules.promtool import Case, Firing, Moment, Series

Labels = Mapping[str, str]


def minutes(number: float) -> timedelta:
    """Return a time after the start of a case."""
    return timedelta(minutes=number)


def cases(mesh: Mesh) -> Mapping[str, tuple[Case, ...]]:
    """Return the cases of every alert, by its name; they are about the first service of the mesh."""
    service = {MESH: mesh.mesh, SERVICE: next(iter(mesh.services))}
    proxy = {**service, INSTANCE: names.instance_id(service[SERVICE], "v1", 1)}
    life = int(mesh.certificates.ttl.total_seconds())
    made: Mapping[str, Callable[[], tuple[Case, ...]]] = {
        "MeshHighErrorRatio": lambda: _high_error_ratio(service, proxy),
        "MeshNoHealthyInstance": lambda: _no_healthy_instance(service, proxy),
        "MeshCertificateExpiresSoon": lambda: _certificate(proxy, life, life / TICKET_LIFE),
        "MeshCertificateAboutToExpire": lambda: _certificate(proxy, life, life / PAGE_LIFE),
        "MeshControlPlaneDisconnected": lambda: _disconnected(proxy),
        "MeshConfigRefused": lambda: _refused(proxy),
        "MeshTargetDown": lambda: _target_down(proxy),
        "MeshMetricsAbsent": lambda: _metrics_absent(service, proxy),
        "MeshRegistryUnreachable": lambda: _registry_unreachable(mesh.mesh),
        "MeshTelemetryDown": lambda: _telemetry_down(service),
    }
    return {name: make() for name, make in made.items()}


def _requests(proxy: Labels, code_class: str, values: str) -> Series:
    return Series(RQ_XX, {**proxy, PREFIX: names.INBOUND, CLASS: code_class}, values)


def _high_error_ratio(service: Labels, proxy: Labels) -> tuple[Case, ...]:
    half = Firing(service, "50%")
    return (
        Case(
            "half of all requests fail, for 15 minutes",
            [
                _requests(proxy, "2", "0+600x20 12300+300x14 17100+600x30"),
                _requests(proxy, "5", "0+0x20 300+300x14 4500+0x30"),
            ],
            [Moment(minutes(20)), Moment(minutes(28), (half,)), Moment(minutes(45))],
        ),
        Case(
            "one in fifty fails",
            [_requests(proxy, "2", "0+588x30"), _requests(proxy, "5", "0+12x30")],
            [Moment(minutes(15)), Moment(minutes(30))],
        ),
        Case(
            "little traffic: one failure of a few requests",
            [_requests(proxy, "2", "0+1x30"), _requests(proxy, "5", "0x10 1x20")],
            [Moment(minutes(13)), Moment(minutes(15))],
        ),
        Case("no data", [], [Moment(minutes(15))]),
    )


def _no_healthy_instance(service: Labels, proxy: Labels) -> tuple[Case, ...]:
    info = Series(SERVICE_INFO, service, "1x40")
    silent, fires = Moment(minutes(9)), (Firing(service, "0"),)
    return (
        Case(
            "the only instance is unhealthy for ten minutes",
            [info, Series(INSTANCE_HEALTHY, proxy, "1x9 0x9 1x20")],
            [silent, Moment(minutes(15), fires), Moment(minutes(25))],
        ),
        Case(
            "one of two is unhealthy",
            [
                info,
                Series(INSTANCE_HEALTHY, {**proxy, INSTANCE: "another"}, "1x40"),
                Series(INSTANCE_HEALTHY, proxy, "0x40"),
            ],
            [Moment(minutes(15))],
        ),
        Case("no instance was ever there", [info], [Moment(minutes(15), fires)]),
        Case("no data", [], [Moment(minutes(15))]),
    )


def _certificate(proxy: Labels, life: int, limit: float) -> tuple[Case, ...]:
    """Return what becomes of a certificate issued at 0 for `life` seconds: renewed at half of it, too late, never.

    A step is a sixtieth of its life, so that the story is the same for a minute and for a day.
    """
    step = max(1, life // 60)
    steps, late = 2 * life // step, int((life - limit / 2) // step)
    own = {**proxy, CERTIFICATE: names.MESH_CERT}
    left, gone = Firing(own, duration(life - late * step)), Firing(own, duration(life - (life // step + 2) * step))

    def at(number: int) -> timedelta:
        return timedelta(seconds=number * step)

    def story(name: str, labels: Labels, values: str, *moments: Moment) -> Case:
        return Case(name, [Series(LISTENER_EXPIRY, labels, values)], moments, timedelta(seconds=step))

    return (
        story(
            "renewed in time",
            own,
            f"{life}x{steps // 4} {2 * life}x{steps}",
            *(Moment(at(number)) for number in (late, steps // 2)),
        ),
        story(
            "renewed too late",
            own,
            f"{life}x{late} {2 * life}x{steps}",
            Moment(at(steps // 4)),
            Moment(at(late), (left,)),
            Moment(at(late + 3)),
        ),
        story("expired", own, f"{life}x{steps}", Moment(at(life // step + 2), (gone,))),
        story(
            "the trust bundle is not the certificate",
            {**own, CERTIFICATE: names.MESH_CA},
            f"{life}x{steps}",
            Moment(at(late)),
        ),
        Case("no data", [], [Moment(at(late))], timedelta(seconds=step)),
    )


def _disconnected(proxy: Labels) -> tuple[Case, ...]:
    return (
        Case(
            "away for ten minutes",
            [Series(CONNECTED, proxy, "1x9 0x9 1x20")],
            [Moment(minutes(11)), Moment(minutes(13), (Firing(proxy, "0"),)), Moment(minutes(20))],
        ),
        Case("connected", [Series(CONNECTED, proxy, "1x30")], [Moment(minutes(15))]),
        Case("no data", [], [Moment(minutes(15))]),
    )


def _refused(proxy: Labels) -> tuple[Case, ...]:
    fires = Firing({**proxy, "type": "lds"}, "1")
    return (
        Case(
            "one listener refused",
            [Series(REJECTED["lds"], proxy, "0x9 1x40"), Series(REJECTED["cds"], proxy, "0x40")],
            [Moment(minutes(9)), Moment(minutes(15), (fires,)), Moment(minutes(25))],
        ),
        Case("nothing refused", [Series(REJECTED[kind], proxy, "0x30") for kind in REJECTED], [Moment(minutes(15))]),
        Case("no data", [], [Moment(minutes(15))]),
    )


def _target_down(proxy: Labels) -> tuple[Case, ...]:
    return (
        Case(
            "not scraped for ten minutes",
            [Series("up", proxy, "1x9 0x9 1x20")],
            [Moment(minutes(11)), Moment(minutes(13), (Firing(proxy, "0"),)), Moment(minutes(20))],
        ),
        Case("withdrawn from discovery", [Series("up", proxy, "1x9 stale")], [Moment(minutes(15))]),
        Case("of another mesh", [Series("up", {**proxy, MESH: "another"}, "0x30")], [Moment(minutes(15))]),
    )


def _metrics_absent(service: Labels, proxy: Labels) -> tuple[Case, ...]:
    info = Series(SERVICE_INFO, service, "1x60")
    healthy = Series(INSTANCE_HEALTHY, proxy, "1x60")
    return (
        Case(
            "the counters vanish, and come back",
            [info, healthy, _requests(proxy, "2", "0+60x20 _x19 5000+60x20")],
            [Moment(minutes(20)), Moment(minutes(38), (Firing(service, "0"),)), Moment(minutes(50))],
        ),
        Case("no requests are no absence", [info, healthy, _requests(proxy, "2", "0x60")], [Moment(minutes(30))]),
        Case("no instance: another alert's matter", [info], [Moment(minutes(30))]),
    )


def _registry_unreachable(mesh: str) -> tuple[Case, ...]:
    labels = {MESH: mesh}
    return (
        Case(
            "one of the watches is broken for ten minutes",
            [
                Series(WATCH_CONNECTED, {**labels, "watch": "instances"}, "1x9 0x9 1x20"),
                Series(WATCH_CONNECTED, {**labels, "watch": "mesh"}, "1x40"),
            ],
            [Moment(minutes(11)), Moment(minutes(13), (Firing(labels, "0"),)), Moment(minutes(20))],
        ),
        Case("no data", [], [Moment(minutes(15))]),
    )


def _telemetry_down(service: Labels) -> tuple[Case, ...]:
    fires = (Firing({MESH: service[MESH]}),)
    return (
        Case(
            "gone for ten minutes",
            [Series(SERVICE_INFO, service, "1x10 stale _x9 1x20")],
            [Moment(minutes(10)), Moment(minutes(18), fires), Moment(minutes(25))],
        ),
        Case("never there", [], [Moment(minutes(4)), Moment(minutes(6), fires)]),
    )


def duration(seconds: float) -> str:
    """Return a whole number of seconds as Prometheus's `humanizeDuration` writes it."""
    left, sign = abs(int(seconds)), "-" if seconds < 0 else ""
    parts = [(left // 86400, "d"), (left // 3600 % 24, "h"), (left // 60 % 60, "m"), (left % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    return sign + " ".join(f"{number}{unit}" for number, unit in parts[first:])
