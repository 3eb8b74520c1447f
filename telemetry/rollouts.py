"""Each start and each end of an instance as one piece of work, by what the registry says of it. No I/O."""

from collections.abc import Iterable, Iterator

from legation.runtime.control.messages import Instance
from legation.runtime.trail import Step


class Rollouts:
    """Follows instances from when they are first heard of until they serve, and from when they drain until they go."""

    def __init__(self) -> None:
        """Know of none: what is there at the first look began before us."""
        self._begun: dict[tuple[str, str], Step] = {}
        self._known: set[str] | None = None

    def look(self, instances: Iterable[Instance], now: float) -> Iterator[Step]:
        """Yield what is over with this look; `now` is in seconds since the epoch."""
        present = {instance.id: instance for instance in instances}
        if self._known is not None:
            self._begin(present, now)
            yield from self._end(present, now)
        self._known = set(present)

    def _begin(self, present: dict[str, Instance], now: float) -> None:
        for instance in present.values():
            if instance.id not in (self._known or ()):
                self._begun["start instance", instance.id] = _step("start instance", instance, now)
            elif instance.state == "draining":
                self._begun.setdefault(("end instance", instance.id), _step("end instance", instance, now))

    def _end(self, present: dict[str, Instance], now: float) -> Iterator[Step]:
        for (name, instance), step in list(self._begun.items()):
            there = present.get(instance)
            if name == "start instance" and there is not None and not (there.state == "ready" and there.synced):
                continue
            if name == "end instance" and there is not None:
                continue
            if name == "start instance" and there is None:
                step.fail("it is gone before it served")
            step.end = now
            del self._begun[name, instance]
            yield step


def _step(name: str, instance: Instance, now: float) -> Step:
    spec = instance.spec
    said = {"legation.instance": spec.id, "legation.service": spec.service, "legation.version": spec.version}
    return Step(name, now, said=dict(said))
