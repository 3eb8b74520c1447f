"""Who starts and ends instances: the host runner over its control API, or docker compose. One small protocol."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import ScaleList, ScaleRequest, WorkloadScale


class ActuatorError(Exception):
    """Whoever starts and ends instances does not answer, or refuses; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One version of a service (empty: all of them): how many instances there are to be, and which serve.

    `cpu_seconds` is the processor time that each app has used, where that is known; `everybody` are all ids.
    """

    service: str
    version: str
    desired: int
    ready: tuple[str, ...]
    serving: int
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    everybody: tuple[str, ...] = ()


class Actuator(Protocol):
    """Starts and ends instances, and says which there are."""

    async def look(self, services: Collection[str]) -> tuple[Workload, ...]:
        """Return what there is of services; ActuatorError when that cannot be said."""
        ...

    async def scale(self, workload: Workload, replicas: int, reason: str) -> None:
        """Have so many instances; ActuatorError when that is refused. It returns before they are there."""
        ...


class HostRunner:
    """`legation up`: new instances serve before they get requests, and old ones drain."""

    def __init__(self, control: Path) -> None:
        """Ask it on its control socket."""
        self._client = ControlClient(control, 5.0)

    async def look(self, services: Collection[str]) -> tuple[Workload, ...]:
        """Return the workloads that follow the load."""
        try:
            answer = await self._client.get("/scale", ScaleList)
        except ControlError as error:
            raise ActuatorError(f"legation up does not answer: {error}") from error
        return tuple(_workload(told) for told in answer.workloads if told.service in services)

    async def scale(self, workload: Workload, replicas: int, reason: str) -> None:
        """Ask for so many instances."""
        request = ScaleRequest(replicas=replicas, reason=reason)
        try:
            await self._client.send("PUT", f"/scale/{workload.service}/{workload.version}", request, WorkloadScale)
        except ControlError as error:
            raise ActuatorError(f"legation up refuses: {error}") from error


def _workload(told: WorkloadScale) -> Workload:
    ready = tuple(i.id for i in told.instances if i.ready)
    used = {i.id: i.cpu_seconds for i in told.instances if i.cpu_seconds is not None}
    everybody = tuple(i.id for i in told.instances)
    return Workload(told.service, told.version, told.desired, ready, len(ready), used, everybody)
