"""How many instances each workload has that follows the load: kept over a restart, and no other number ever."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from legation.mesh.desired import ReplicaSet


@dataclass(frozen=True, slots=True)
class Count:
    """The number of one version's instances; `start` is mesh.yaml's own, by which it began."""

    service: str
    version: str
    start: int
    replicas: int


class Counts:
    """The numbers of one mesh on this host, in a file."""

    def __init__(self, file: Path) -> None:
        """Take what the file says; one that cannot be read says nothing."""
        self._file = file
        try:
            read = msgspec.json.decode(file.read_bytes(), type=tuple[Count, ...])
        except (OSError, msgspec.DecodeError):
            read = ()
        self._known = {(count.service, count.version): count for count in read}

    def applied(self, sets: Iterable[ReplicaSet]) -> tuple[ReplicaSet, ...]:
        """Return what is desired with our numbers in place of mesh.yaml's, within its bounds."""
        return tuple(self._applied(sets))

    def _applied(self, sets: Iterable[ReplicaSet]) -> Iterator[ReplicaSet]:
        for replicas in sets:
            count = self._known.get((replicas.spec.service, replicas.spec.version))
            # Who changes the number in mesh.yaml means the one that he writes.
            if replicas.bounds is None or count is None or count.start != replicas.replicas:
                yield replicas
            else:
                yield replace(replicas, replicas=within(replicas, count.replicas))

    def set(self, replicas: ReplicaSet, number: int) -> None:
        """Take another number for what mesh.yaml desires of a version, and keep it."""
        spec = replicas.spec
        self._known[spec.service, spec.version] = Count(spec.service, spec.version, replicas.replicas, number)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(tuple(self._known.values()))))
        fresh.replace(self._file)


def within(replicas: ReplicaSet, number: int) -> int:
    """Return the number of instances that is nearest to a wish, within the bounds."""
    least, most = replicas.bounds or (replicas.replicas, replicas.replicas)
    return max(least, min(number, most))
