"""Where readings come from: a Prometheus that mesh.yaml names, else the sidecars themselves."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from legation.mesh.model.autoscale import REQUEST_METRICS, Autoscale, Metric
from legation.runtime import http
from legation.runtime.control.messages import Instance
from legation.runtime.prometheus import Prometheus, PrometheusError
from telemetry.autoscale import statistics
from telemetry.autoscale.actuator import Workload
from telemetry.autoscale.decide import Reading
from telemetry.autoscale.queries import query
from telemetry.autoscale.queries import reporting as reporting_of
from telemetry.autoscale.statistics import Sample
from telemetry.discovery import SIDECAR_PATH

Readings = Mapping[Metric, Reading]

SPAN = 15.0
"""Seconds that a rate is over, and after which what an instance has said says nothing of now."""

_LIMIT = 2.0


class Source(Protocol):
    """Measures what a policy asks for."""

    async def read(self, workload: Workload, policy: Autoscale, now: float) -> Readings:
        """Return a reading of each metric that the policy has; never an error: what is not known says why."""
        ...


class Sidecars:
    """Asks each sidecar of a service for what it has counted; keeps what they said for as long as rates need it."""

    def __init__(self, instances: Callable[[], Collection[Instance]], span: float = SPAN) -> None:
        """Find sidecars in what `instances` returns: the registry."""
        self._instances, self._span = instances, span
        self._samples: dict[tuple[str, str], deque[Sample]] = {}
        self._cpu: dict[str, deque[tuple[float, float]]] = {}

    async def read(self, workload: Workload, policy: Autoscale, now: float) -> Readings:
        """Return a reading of each metric, of the instances that serve."""
        desired = [metric for metric, _ in policy.targets()]
        found: dict[Metric, Reading] = {}
        if any(metric in desired for metric in REQUEST_METRICS):
            found |= await self._requests(workload, now)
        if "cpu" in desired:
            found["cpu"] = self._processors(workload, now)
        return {metric: found[metric] for metric in desired}

    async def _requests(self, workload: Workload, now: float) -> Readings:
        known = [i for i in self._instances() if self._is_of(i, workload)]
        await asyncio.gather(*(self._look(instance, now) for instance in known))
        lives = {instance.id: (instance.id, instance.spec.boot) for instance in known}
        for life in [life for life in self._samples if life[0] in workload.everybody and life not in lives.values()]:
            del self._samples[life]
        taken = {i: tuple(self._samples[life]) for i, life in lives.items() if life in self._samples}
        return statistics.readings(taken, now - self._span, len(known))

    def _is_of(self, instance: Instance, workload: Workload) -> bool:
        spec = instance.spec
        if workload.ready:
            return instance.id in workload.ready
        return spec.service == workload.service and workload.version in {"", spec.version} and instance.serves

    async def _look(self, instance: Instance, now: float) -> None:
        """Ask one sidecar; one that does not answer leaves what it has said to age."""
        spec = instance.spec
        try:
            answer = await http.request((spec.scraped_address, spec.metrics_port), "GET", SIDECAR_PATH, limit=_LIMIT)
            sample = statistics.parse(answer.text, now) if answer.status == 200 else None
        except (http.HttpError, ValueError):
            return
        if sample is not None:
            taken = self._samples.setdefault((instance.id, spec.boot), deque())
            taken.append(sample)
            _forget(taken, now - self._span, lambda old: old.at)

    def _processors(self, workload: Workload, now: float) -> Reading:
        for instance, seconds in workload.cpu_seconds.items():
            taken = self._cpu.setdefault(instance, deque())
            if taken and seconds < taken[-1][1]:
                taken.clear()  # another process
            taken.append((now, seconds))
            _forget(taken, now - self._span, lambda old: old[0])
        return statistics.cpu({i: tuple(self._cpu[i]) for i in workload.cpu_seconds}, now - self._span)


class FromPrometheus:
    """Asks a Prometheus that scrapes the mesh."""

    def __init__(self, prometheus: Prometheus, mesh: str) -> None:
        """Ask for one mesh's series."""
        self._prometheus, self._mesh = prometheus, mesh

    async def read(self, workload: Workload, policy: Autoscale, now: float) -> Readings:  # noqa: ARG002 - it has its own
        """Return a reading of each metric."""
        metrics = [metric for metric, _ in policy.targets()]
        found = await asyncio.gather(*(self._one(metric, workload) for metric in metrics))
        return dict(zip(metrics, found, strict=True))

    async def _one(self, metric: Metric, workload: Workload) -> Reading:
        about = (metric, self._mesh, workload.service, workload.version, workload.ready)
        try:
            value, number = [await self._prometheus.query(asked(*about)) for asked in (query, reporting_of)]
        except PrometheusError as error:
            return Reading(None, why=str(error))
        if not value or not number:
            return Reading(None, why="Prometheus has no fresh series of it")
        reporting = int(number[0].samples[0][1])
        return Reading(value[0].samples[0][1], reporting, len(workload.ready) or reporting, "Prometheus has no number")


def _forget(taken: deque, before: float, at: Callable) -> None:  # type: ignore[type-arg]
    """Drop what is older than a time, but for the last one before it: a rate begins there."""
    while len(taken) > 1 and at(taken[1]) <= before:
        taken.popleft()
