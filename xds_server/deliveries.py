"""When each proxy was told of one change, and when it answered: for the trace of that change. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from legation.runtime.trail import Step

MOST = 100
"""Proxies that a trace shows: the last to answer. A fleet of thousands would be one that nobody can read."""


@dataclass(slots=True)
class Deliveries:
    """One change on its way; times are of the clock that `xds_server.convergence` is given."""

    told: dict[int, float] = field(default_factory=dict)
    answers: dict[int, float] = field(default_factory=dict)
    is_over: bool = False
    """All have answered, or have left, or it is not waited for any more."""

    def steps(self, names: dict[int, str], rejections: dict[int, str], offset: float) -> Iterator[Step]:
        """Yield a step a proxy, in the order in which they were told; `offset` makes the times those of the epoch.

        `names` are those of streams, `rejections` what proxies had to say against it.
        """
        for stream in sorted(self._shown(), key=lambda stream: self.told[stream]):
            step = Step(f"ACK {names.get(stream, 'gone')}", self.told[stream] + offset)
            step.said["legation.instance"] = names.get(stream, "")
            if stream not in self.answers:
                step.fail("no answer yet")
            elif stream in rejections:
                step.fail(rejections[stream])
            if stream in self.answers:
                step.end = self.answers[stream] + offset
            yield step

    def _shown(self) -> list[int]:
        return sorted(self.told, key=lambda stream: self.answers.get(stream, float("inf")))[-MOST:]
