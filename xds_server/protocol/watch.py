"""One type on one stream: what the client wants, what it was told, and so what is due."""

from collections.abc import Collection, Iterable, Mapping

from xds_server.protocol.acks import PendingAcks
from xds_server.protocol.difference import Change, between, everything
from xds_server.protocol.manner import Manner
from xds_server.protocol.subscription import Subscription
from xds_server.protocol.types import WILDCARD, DeltaRequest, Send, Subscribed
from xds_server.snapshot import NO_RESOURCES, Resource, Resources


class Watch:
    """The state of one type. Names that may be due are kept in sets, so a quiet type costs nothing."""

    __slots__ = (
        "_apart",
        "_claim",
        "_manner",
        "_must",
        "_opened",
        "_resources",
        "_said",
        "_versions",
        "acks",
        "claimed",
        "due",
        "explicit_answer",
        "renew",
        "subscription",
        "type_url",
        "whole",
    )

    def __init__(self, type_url: str, manner: Manner) -> None:
        """Start before the type's first request."""
        self.type_url, self._manner = type_url, manner
        self.whole = type_url in manner.whole
        """Whether each response holds all that the client should have."""
        self.subscription = Subscription()
        self.acks = PendingAcks()
        self.due: set[str] = set()
        """Names to look at: the client may not hold what it should."""
        self.explicit_answer = False
        """Whether a wildcard waits to be answered, even by nothing (silence costs the client 15 s)."""
        self.renew = False
        """Whether TTLs are to be renewed."""
        self.claimed: tuple[int, int] = (0, 0)
        """How many names the client said that it holds, and characters of those names and their versions."""
        self._opened = False
        self._claim = ""
        """The version of all resources that the client says it holds."""
        self._resources = NO_RESOURCES
        self._said: dict[str, Resource] = {}
        """What the last response held, where each holds everything."""
        self._versions: dict[str, str | None] | None = {}
        """What `_told` returns; None where that is just what there is, which thousands of streams share."""
        self._must: set[str] = set()
        """Names that are owed an answer whatever the client was told before."""
        self._apart: set[str] = set()
        """Names that go in a response of their own: one of them may be what was NACKed."""

    @property
    def _told(self) -> dict[str, str | None]:
        """The version of each name that was sent last, or reported as held; None: told that there is none."""
        if self._versions is None:
            self._versions = {name: resource.version for name, resource in self._resources.items()}
        return self._versions

    def _share(self) -> None:
        """Keep no names and versions of one's own where the client asks for, and was told of, just what there is."""
        told, there = self._versions, self._resources
        self.subscription.share(there)
        if told and len(told) == len(there) and all(told.get(name) == r.version for name, r in there.items()):
            self._versions = None

    def ask(self, request: DeltaRequest) -> Subscribed | None:
        """Apply what a request subscribes to; None when that changes nothing.

        A name that is subscribed to again is sent again, as the client may have dropped it in between (xDS
        protocol, "Subscribing to Resources": a server must send a resource that is subscribed to anew).
        """
        if self._opened and not request.subscribe and not request.unsubscribe:
            return None
        wildcard = self.subscription.wildcard
        held = self._change(request)
        self._answer(name for name in request.subscribe if name not in held and self._asks(name))
        if self.subscription.wildcard != wildcard:
            self._turn_wildcard(answered=bool(held))
        self._let_go(request.unsubscribe)
        return Subscribed(self.type_url, request.subscribe, request.unsubscribe, self.subscription.wildcard)

    def _asks(self, name: str) -> bool:
        """Say whether naming a name asks for it: where it does so once, one that the wildcard has brought is there."""
        return self._manner.asks_again or self._told.get(name) is None

    def hold(self, version: str) -> None:
        """Take that the client says, in its first request, which version of everything it holds."""
        if self.whole and self.subscription.wildcard and not self.subscription.names:
            self._claim = version

    def _change(self, request: DeltaRequest) -> Mapping[str, str | None]:
        """Change the subscription; return what the client says, in its first request, that it still holds.

        `initial_resource_versions` count only in a type's first request on a stream (xDS protocol, "Incremental
        xDS", DeltaDiscoveryRequest): what differs is sent, what is gone is removed, all else is not repeated.
        """
        if self._opened:
            self.subscription.change(request.subscribe, request.unsubscribe)
            return {}
        self._opened = True
        self.subscription.open(self.type_url, request.subscribe)
        self.subscription.change((), request.unsubscribe)
        self.claimed = len(request.initial_versions), _characters(request.initial_versions)
        self._versions = {name: v for name, v in request.initial_versions.items() if self.subscription.wants(name)}
        self.due.update(self._told)
        return self._told

    def owe(self, names: Iterable[str]) -> None:
        """Have these names sent again where the client subscribes to them."""
        owed = {name for name in names if self.subscription.wants(name)}
        self._must |= owed
        self.due |= owed

    def _answer(self, names: Iterable[str]) -> None:
        """Have the client told of these names, as it no longer knows what it was told before."""
        owed = set(names) - {WILDCARD}
        for name in owed:
            self._told.pop(name, None)
        self._must |= owed
        self.due |= owed

    def _turn_wildcard(self, *, answered: bool) -> None:
        """Follow the wildcard's coming, which is answered at once, or going, by which names are forgotten.

        xDS protocol, "How the client specifies what resources to return": `*` may be subscribed to and
        unsubscribed from like a name, beside names.
        """
        if self.subscription.wildcard:
            self.explicit_answer = not answered
            self.due.update(self._resources)
        else:
            self.explicit_answer = False
            self._forget((self._told.keys() | self.due) - self.subscription.names)

    def _let_go(self, names: Iterable[str]) -> None:
        """Follow an unsubscribe: under a wildcard the client has to be told whether it still has the resource.

        xDS protocol, "Unsubscribing From Resources": the server answers with the resource, or with its removal,
        as the wildcard may still want it.
        """
        gone = set(names) - {WILDCARD} - self.subscription.names
        if self.subscription.wildcard and self._manner.asks_again:
            self._answer(gone & (self._told.keys() | self._resources.keys() | self._must))
        elif not self.subscription.wildcard:
            self._forget(gone)

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self._told.pop(name, None)
            self._said.pop(name, None)
        self.due -= names
        self._must -= names
        self._apart -= names
        self.acks.forget(names)

    def forget_unwanted(self, names: Iterable[str]) -> None:
        """Keep no NACK of what the client has let go of since it was sent: nothing would ever clear it."""
        if unwanted := [name for name in names if not self.subscription.wants(name)]:
            self.acks.forget(unwanted)

    def is_quiet(self, resources: Resources) -> bool:
        """Say whether there is nothing to say, these being the resources."""
        return resources is self._resources and self._is_settled

    @property
    def _is_settled(self) -> bool:
        return not (self.due or self.explicit_answer or self.renew or self._claim)

    def plain(self, resources: Resources) -> Change | None:
        """Return the move to these resources, where the client has all that there was before and wants all that is new.

        Then nothing has to be weighed name by name, and what is said is the same for all such streams.
        """
        if self.whole or self.acks.nacks or not self._is_settled:
            return None
        change = between(self._resources, resources)
        wanted = self.subscription.wildcard or change.names <= self.subscription.names
        return change if wanted and not change.removes else None

    def move(self, resources: Resources, change: Change) -> None:
        """Take these resources, and that all that is new is sent."""
        self._resources = resources
        if self._versions is not None:
            self._versions.update(change.versions)

    def look(self, resources: Resources) -> None:
        """Note what differs between what there was and what there is now."""
        if resources is not self._resources:
            self._compare(resources)
        if self._claim:
            self._take_claim()

    def _compare(self, resources: Resources) -> None:
        # what one is sent first is many a stream's own, and not looked at twice
        changed = between(self._resources, resources).names if self._resources else frozenset(resources)
        self._versions, self._resources = self._told, resources
        if not self.subscription.wildcard:
            changed &= self.subscription.names
        self.due |= changed
        if self.acks.nacks and changed:
            self._apart |= self.acks.retry({name: r.version for name, r in resources.items()})
            self._must |= self._apart
            self.due |= self._apart

    def _take_claim(self) -> None:
        """Count everything as sent where the client holds this very state from another stream.

        xDS protocol, "Resource type instance version": allowed for a wildcard of types that come whole, as whoever
        is asked for names has to answer for warming to end.
        """
        if self._claim == self._resources.version:
            self._said = dict(self._resources)
            self._versions = None
            self.due.clear()
            self.explicit_answer = False
        self._claim = ""

    def upserts(self) -> tuple[list[Resource], list[Resource], list[str]]:
        """Return what to send at once, what to send in a response apart, and asked names that do not exist.

        A name that does not exist is told so by `removed_resources` (xDS protocol, "Knowing When a Requested
        Resource Does Not Exist"), once: after that only its coming is news.
        """
        together: list[Resource] = []
        apart: list[Resource] = []
        missing: list[str] = []
        for name in sorted(self.due):
            resource = self._resources.get(name)
            if resource is not None and (name in self._must or self._told.get(name) != resource.version):
                (apart if name in self._apart else together).append(resource)
            elif resource is None and name in self._must and self._told.get(name) is None:
                missing.append(name)
            elif resource is not None or self._told.get(name) is None:
                self.due.discard(name)
        return together, apart, missing

    def removals(self) -> list[str]:
        """Return what the client holds and should not (xDS protocol, "Deleting Resources": said by name in delta)."""
        return sorted(name for name in self.due if name not in self._resources and self._told.get(name) is not None)

    @property
    def version(self) -> str:
        """What names the state of the type."""
        return self._resources.version

    @property
    def ttl(self) -> float:
        """The shortest TTL of the type's resources, in seconds; infinite when they are kept for ever."""
        return self._resources.ttl

    def everything(self, without: Collection[str]) -> tuple[Resource, ...]:
        """Return all that the client should have; what it has to keep until its removal, too, but for `without`."""
        wants, now = self.subscription.wants, self._resources
        leaving = [r for name, r in self._said.items() if name not in now and name not in without]
        return tuple(sorted([*leaving, *(r for name, r in now.items() if wants(name))], key=lambda r: r.name))

    def absent(self, resources: Iterable[Resource]) -> tuple[str, ...]:
        """Return the names of which a response with everything says, by their absence, that there is none."""
        known = self.subscription.names | self._said.keys()
        return tuple(sorted(known.difference(resource.name for resource in resources)))

    def all(self) -> Change | None:
        """Return the move to all there is, where the client has nothing and is to be sent just that; else None."""
        there = self._resources  # where there is nothing it is one value for all types
        if self.whole or self.acks.nacks or self._apart or not there or self._told or self.due != there.keys():
            return None
        return everything(self._resources)

    def lasting(self) -> tuple[Resource, ...]:
        """Return what the client was sent and forgets after its TTL."""
        held = (self._resources.get(name) for name, version in self._told.items() if version is not None)
        return tuple(r for r in held if r is not None and r.ttl is not None and self._told[r.name] == r.version)

    def sent(self, send: Send) -> None:
        """Note what the client will now have been told."""
        self.acks.sent(send)
        if send.heartbeat:
            return
        self.explicit_answer = False
        if self.whole:
            self._sent_everything(send)
        for resource in send.resources:
            self._told[resource.name] = resource.version
        self.know_gone(send.removed)
        self._settle(send.names)
        self._share()

    def sent_all(self, send: Send) -> None:
        """Note that the client will now have been told of all there is."""
        self.acks.sent(send)
        self.explicit_answer, self._versions = False, None
        self.due, self._must = set(), set()
        self.subscription.share(self._resources)

    def _sent_everything(self, send: Send) -> None:
        """Note that nothing is left to say, but what was kept in and is to be removed later."""
        self._told.clear()
        self._said = {resource.name: resource for resource in send.resources}
        self._settle(tuple(self.due | self._must))

    def know_gone(self, names: Collection[str]) -> None:
        """Note that the client knows, or can not be told, that there is no resource of these names."""
        for name in names:
            if name in self.subscription.names:
                self._told[name] = None
            else:
                self._told.pop(name, None)
        self._settle(names)

    def _settle(self, names: Collection[str]) -> None:
        """Have nothing more to say of names; of what the last response kept in, its removal."""
        for pending in (self.due, self._must, self._apart):
            pending.difference_update(names)
            if not pending:
                pending.clear()  # a set that is only emptied keeps the room for all that it had
        self.due.update(name for name in self._said if name not in self._resources)


def _characters(versions: Mapping[str, str]) -> int:
    return sum(map(len, versions)) + sum(map(len, versions.values()))
