"""What differs between two sets of resources, found once for all streams that move from one to the other."""

from collections import deque
from collections.abc import Mapping

from xds_server.snapshot import Resource

_Found = tuple[Mapping[str, Resource], Mapping[str, Resource], frozenset[str]]
_found: deque[_Found] = deque(maxlen=16)
"""The newest answers: the same move of a thousand streams is looked at once. Only a memo, as sets never change."""


def difference(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> frozenset[str]:
    """Return the names of all resources that came, went, or are another value now.

    By identity, as values are shared: of two that are equal all the same, the version tells.
    """
    for known_before, known_after, names in _found:
        if known_before is before and known_after is after:
            return names
    changed = {name for name, resource in after.items() if before.get(name) is not resource}
    names = frozenset(changed | (before.keys() - after.keys()))
    _found.appendleft((before, after, names))
    return names
