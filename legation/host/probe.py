"""Whether a mesh is up: every instance in order, and a request that the gateway has an answer to."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from legation.mesh import names
from legation.runtime import http
from legation.runtime.control.messages import HostStatus


def missing(status: HostStatus) -> tuple[str, ...]:
    """Return what is not in order yet, a line each."""
    return tuple(_missing(status))


def _missing(status: HostStatus) -> Iterator[str]:
    yield from status.problems
    for name, component in status.components.items():
        if component.state != "running":
            yield f"{name} is {component.state}"
    for instance in status.instances:
        if instance.certificate_serial is None:
            yield f"{instance.id} has no certificate yet"
        elif not instance.synced:
            yield f"{instance.id} does not have its configuration yet"
        elif instance.condition == "unhealthy":
            yield f"{instance.id} does not pass its health check yet"
        elif not instance.healthy:
            yield f"{instance.id} is {instance.condition}"


async def unreached(status: HostStatus) -> tuple[str, ...]:
    """Send one request to the gateway; return what is wrong: no answer, or a 5xx.

    What is there at `/`, if anything, is the team's own business. Nobody is asked where the gateway takes TLS,
    or a host's name that may lead elsewhere from here.
    """
    url = urlsplit(status.gateway or "")
    if status.gateway is None or url.scheme != "http" or not names.is_ip(url.hostname or ""):
        return ()
    try:
        answer = await http.request((url.hostname or "", url.port or 80), "GET", "/", limit=10)
    except http.HttpError as error:
        return (str(error),)
    if answer.status >= 500:
        return (f"{status.gateway} answers {answer.status}: {answer.text[:200].strip()}",)
    return ()
