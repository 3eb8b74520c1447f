"""Which hop the doctor's request takes. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from legation.mesh.model.mesh import Mesh
from legation.runtime.control.messages import Instance
from telemetry.doctor.finding import Hop


class NoHop(ValueError):
    """Why no request can be sent; the text says what would do."""


def choose(mesh: Mesh, instances: Sequence[Instance], source: str = "", destination: str = "") -> Hop:
    """Return the first hop on this host that can be taken, HTTP before gRPC; NoHop when there is none.

    `source` and `destination` ask for a service each.
    """
    pairs = [p for p in _pairs(mesh) if source in {"", p[0]} and destination in {"", p[1]}]
    if not pairs:
        asked = " to ".join(filter(None, (source, destination))) or "any service to another"
        raise NoHop(f"mesh.yaml has no call from {asked} over HTTP or gRPC: choose one that it has (--from, --to)")
    for caller, called in pairs:
        for instance in instances:
            spec = instance.spec
            if spec.service == caller and called in spec.outbound_ports and _takes_calls(instance):
                return Hop(
                    instance=spec.id,
                    source=caller,
                    destination=called,
                    address=spec.own_address,
                    port=spec.outbound_ports[called],
                    metrics=(spec.scraped_address, spec.metrics_port),
                )
    callers = ", ".join(dict.fromkeys(caller for caller, _ in pairs))
    raise NoHop(f"no instance of {callers} is connected on this host: legation status says why")


def _pairs(mesh: Mesh) -> Iterator[tuple[str, str]]:
    for protocol in ("http", "grpc"):
        for name, service in mesh.services.items():
            called = (call.service for call in service.calls)
            yield from ((name, c) for c in called if c in mesh.services and mesh.services[c].protocol == protocol)


def _takes_calls(instance: Instance) -> bool:
    """Say whether its app's requests can be played from here: in a container its networks are its own."""
    return instance.connected and not instance.spec.by_name and not instance.spec.standalone


def counted(text: str, metric: str, label: str = "") -> float | None:
    """Return the sum of a metric in Envoy's text at `/stats/prometheus`, with this label; None where it is not there.

    Read by lines: a whole parse of 190 series takes longer than the request.
    """
    found = list(_values(text.splitlines(), metric, label))
    return sum(found) if found else None


def _values(lines: Iterable[str], metric: str, label: str) -> Iterator[float]:
    for line in lines:
        if line.startswith((metric + "{", metric + " ")) and label in line:
            yield float(line.rpartition(" ")[2])
