"""Which certificates are revoked, and what that has done to connections: a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Revocations:
    """The serials that are revoked; and for TCP, where no request can be denied, whose connections had to end.

    `drained` has a mark for each service whose listeners were drained: with another mark a filter chain is
    another one, and Envoy closes the connections of the one before. A mark stays when the serials that it was
    made for have ended, as a change alone would drain again.
    """

    serials: frozenset[str] = frozenset()
    drained: Mapping[str, str] = field(default_factory=dict)

    def with_serials(self, serials: frozenset[str], drain: Iterable[str]) -> "Revocations":
        """Return what is revoked from now on; connections to the services in `drain` end."""
        fresh = ",".join(sorted(serials - self.serials))
        marks = {name: sha256(f"{self.drained.get(name, '')},{fresh}".encode()).hexdigest()[:16] for name in drain}
        return Revocations(serials, {**self.drained, **marks})


NONE_REVOKED = Revocations()
