"""How a variant of the protocol says what the core has decided.

xDS protocol, "Variants of the xDS Transport Protocol".
"""

from dataclasses import dataclass

from xds_server.protocol.subscription import LEGACY_WILDCARD_TYPES


@dataclass(frozen=True, slots=True)
class Manner:
    """What the variants differ in, once a request is understood."""

    whole: frozenset[str]
    """Types whose every response holds all resources: what is not in it is removed by that."""
    says_removals: bool
    """Whether a response can say of a name that there is no such resource."""
    asks_again: bool
    """Whether naming a name asks for it anew, as the client may have dropped it in between."""


DELTA = Manner(whole=frozenset(), says_removals=True, asks_again=True)
SOTW = Manner(whole=LEGACY_WILDCARD_TYPES, says_removals=False, asks_again=False)
