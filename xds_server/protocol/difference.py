"""What differs between two sets of resources, found once for all streams that move from one to the other."""

from dataclasses import dataclass, field
from weakref import ref

from xds_server.snapshot import NO_RESOURCES, Resource, Resources


@dataclass(slots=True, eq=False, weakref_slot=True)
class Change:
    """The move from one set of resources to another: what streams that all move so have in common."""

    names: frozenset[str]
    """Names of resources that came, went, or are another value now."""
    upserts: tuple[Resource, ...]
    """What is new, or of another version; by name."""
    versions: dict[str, str | None]
    """Their versions, by name."""
    removes: bool
    """Whether something went."""
    size: int
    """Bytes of all upserts together."""
    encoded: dict[str, bytes] = field(default_factory=dict)
    """The response with the upserts, but for its nonce, by how it is written."""
    is_common: bool = True
    """Whether more than one stream is told of it, so that its bytes are worth keeping."""


def between(before: Resources, after: Resources) -> Change:
    """Return what differs. By identity, as values are shared: of two that are equal all the same, the version tells.

    The newest answer is kept with `after`, as sets never change: the same move of a thousand streams is
    looked at once, and forgotten with its sets.
    """
    if after.since is not None:
        known, kept = after.since
        if known() is before and isinstance(kept, Change):
            return kept
    change = _between(before, after)
    after.since = ref(before), change
    return change


def everything(resources: Resources) -> Change:
    """Return the move from nothing to these, for streams that begin: one value while one of them has not answered it.

    Nobody else keeps it, as its bytes are all of a type once more, and streams seldom begin once all are up.
    """
    known = resources.whole() if resources.whole is not None else None
    if isinstance(known, Change):
        known.is_common = True
        return known
    change = _between(NO_RESOURCES, resources)
    change.is_common = False
    resources.whole = ref(change)
    return change


def _between(before: Resources, after: Resources) -> Change:
    changed = {name for name, resource in after.items() if before.get(name) is not resource}
    upserts = tuple(after[name] for name in sorted(changed) if _version(before, name) != after[name].version)
    gone = before.keys() - after.keys()
    versions: dict[str, str | None] = {resource.name: resource.version for resource in upserts}
    size = sum(resource.size for resource in upserts)
    return Change(frozenset(changed | gone), upserts, versions, bool(gone), size)


def _version(resources: Resources, name: str) -> str | None:
    resource = resources.get(name)
    return None if resource is None else resource.version
