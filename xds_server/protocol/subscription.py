"""What a client wants of one type: names, or all there is (xDS protocol, "Wildcard subscriptions")."""

from collections.abc import Iterable

from xds_server.protocol.types import WILDCARD
from xds_server.snapshot import CLUSTER, LISTENER, Resources

LEGACY_WILDCARD_TYPES = frozenset({CLUSTER, LISTENER})
"""Types of which an empty first request means all. Of other types it means none."""


class Subscription:
    """The names that a client subscribes to; delta and state-of-the-world requests both change it."""

    __slots__ = ("characters", "legacy", "names", "wildcard")

    def __init__(self) -> None:
        """Start with nothing."""
        self.names: set[str] | frozenset[str] = frozenset()
        """Frozen where other streams share them."""
        self.characters = 0
        """Characters in all names."""
        self.wildcard = False
        self.legacy = False
        """Whether the wildcard is the legacy one: said by an empty list, and by none but empty lists so far."""

    def open(self, type_url: str, names: Iterable[str]) -> None:
        """Take the first request of a type: without names it is the legacy wildcard of clusters and listeners."""
        names = frozenset(names)
        self.change(names, ())
        self.legacy = not names and type_url in LEGACY_WILDCARD_TYPES
        self.wildcard = self.wildcard or self.legacy

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Add names, then drop names. Emptied by this, it stays empty: the legacy wildcard never comes back."""
        added, dropped = frozenset(subscribe), frozenset(unsubscribe)
        self.wildcard = (self.wildcard or WILDCARD in added) and WILDCARD not in dropped
        added = added - self.names - {WILDCARD}
        dropped = frozenset(name for name in dropped if name in self.names or name in added)
        if added or dropped:
            names = self.names if isinstance(self.names, set) else set(self.names)
            names |= added
            names -= dropped
            self.names = names
        self.characters += sum(map(len, added)) - sum(map(len, dropped))

    def share(self, there: Resources) -> None:
        """Keep no names of one's own where they are those of all that there is, as many a stream's are."""
        if self.names == there.keys():
            self.names = there.names

    def restate(self, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what to subscribe to and unsubscribe from for these to be all names that the client wants.

        An empty list means all for as long as the client has said nothing else; after that it means nothing.
        """
        wanted = frozenset(names)
        if not wanted and self.legacy:
            return (), ()
        self.legacy = False
        held = self.names | {WILDCARD} if self.wildcard else self.names
        return tuple(sorted(wanted - held)), tuple(sorted(held - wanted))

    def wants(self, name: str) -> bool:
        """Say whether a resource of this name is for the client."""
        return self.wildcard or name in self.names
