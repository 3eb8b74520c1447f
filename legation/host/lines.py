"""What `legation up` says where no table can be drawn: a plain line for each thing that has changed. No I/O."""

from collections.abc import Iterator

from legation.runtime.control.messages import HostStatus

_PATIENCE = 5.0
"""Seconds that an instance may fail its health check before that is news: each app fails it until it listens."""


class Lines:
    """Turns one status after another into what is new since the one before."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._said: dict[str, str] = {}
        self._problems: tuple[str, ...] = ()
        self._failing: dict[str, float] = {}

    def news(self, status: HostStatus, now: float) -> Iterator[str]:
        """Yield a line for each change; `now` is in seconds, from any start."""
        conditions = self._conditions(status, now)
        self._said = self._said or dict.fromkeys(status.components, "starting")  # as the first line of all says
        yield from (f"{name}: {text}" for name, text in conditions.items() if self._said.get(name) != text)
        yield from (f"{name}: ended" for name in self._said if name not in conditions)
        yield from (f"problem: {p}" for p in status.problems if p not in self._problems)
        yield from (f"solved: {p}" for p in self._problems if p not in status.problems)
        self._said, self._problems = conditions, status.problems

    def _conditions(self, status: HostStatus, now: float) -> dict[str, str]:
        """Return the condition of each component and instance."""
        instances = {i.id.removeprefix("legation-"): i.condition for i in status.instances}
        failing = [name for name, condition in instances.items() if condition == "unhealthy"]
        self._failing = {name: self._failing.get(name, now) for name in failing}
        recently = [name for name in failing if now - self._failing[name] < _PATIENCE]
        instances |= {i.id: f"unhealthy: {i.unwell}" for i in status.instances if i.id in failing and i.unwell}
        instances |= {name: self._said.get(name, "starting") for name in recently}
        return {name: component.state for name, component in status.components.items()} | instances
