"""Which of many resources Envoy rejects: it names none, so halves are asked about until one is left. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.snapshot import Resource


@dataclass(frozen=True, slots=True)
class Fault:
    """Envoy's words, and what they are about: one resource, or several that it rejects only together."""

    resources: tuple[Resource, ...]
    words: str


@dataclass(frozen=True, slots=True)
class _Rejected:
    """Resources of which each half was asked about after this; `known` faults had been found before."""

    fault: Fault
    known: int


class Search:
    """What to ask Envoy about next, and the faults that it has named by now.

    Answer what `asked` says until it says None. Whoever ends before that has the faults as far as they are known.
    """

    def __init__(self, resources: Sequence[Resource], together: int) -> None:
        """Look for faults in these, so many of them in one run."""
        self._found: list[Fault] = []
        self._open: list[tuple[Resource, ...] | _Rejected] = []
        for first in range(0, len(resources), together):
            self._open.insert(0, tuple(resources[first : first + together]))

    @property
    def asked(self) -> tuple[Resource, ...] | None:
        """What Envoy should look at next; None: all is known."""
        while self._open:
            last = self._open[-1]
            if not isinstance(last, _Rejected):
                return last
            self._open.pop()
            if len(self._found) == last.known:
                self._found.append(last.fault)
        return None

    def answer(self, words: str | None) -> None:
        """Take Envoy's words about what is asked; None: it accepts that."""
        asked = self.asked
        if asked is None:
            raise AssertionError("nothing is asked")
        self._open.pop()
        if words is None:
            return
        self._open.append(_Rejected(Fault(asked, words), len(self._found)))
        if half := len(asked) // 2:
            self._open += [asked[half:], asked[:half]]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong, each as narrow as it is known by now."""
        unclear = [one.fault for one in self._open if isinstance(one, _Rejected) and len(self._found) == one.known]
        return (*self._found, *unclear[-1:])
