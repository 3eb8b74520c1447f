"""What differs between two sets of resources, found once for all streams that move from one to the other."""

from collections import deque
from collections.abc import Mapping

from xds_server.snapshot import Resource

_Found = tuple[Mapping[str, Resource], Mapping[str, Resource], frozenset[str]]
_KEPT = 16


class Differences:
    """Remembers the newest answers: the same move of a thousand streams is looked at once.

    One a server, for the streams of one event loop. Only a memo, as sets never change.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._found: deque[_Found] = deque(maxlen=_KEPT)

    def between(self, before: Mapping[str, Resource], after: Mapping[str, Resource]) -> frozenset[str]:
        """Return the names of all resources that came, went, or are another value now.

        By identity, as values are shared: of two that are equal all the same, the version tells.
        """
        for known_before, known_after, names in self._found:
            if known_before is before and known_after is after:
                return names
        changed = {name for name, resource in after.items() if before.get(name) is not resource}
        names = frozenset(changed | (before.keys() - after.keys()))
        self._found.appendleft((before, after, names))
        return names
