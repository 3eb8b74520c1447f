"""The xDS transport protocol, whatever its variant: every decision of one stream, without I/O.

What this file does not hold is per type, in `watch`; what a request says is its variant's, in `delta` and `sotw`.
"""

import math
from collections.abc import Collection, Iterable, Mapping

from xds_server.protocol.manner import Manner
from xds_server.protocol.order import DEPENDENCIES, DEPENDENTS, REMOVALS, UPSERTS, in_order, split
from xds_server.protocol.references import FOLLOWERS, followed_by
from xds_server.protocol.types import DeltaRequest, Effect, LimitExceeded, Limits, Nacked, Send, TooLarge, UnknownType
from xds_server.protocol.watch import Watch
from xds_server.snapshot import NO_RESOURCES, Resource, Resources, Snapshot, version_of


class XdsStream:
    """One stream: give it requests and snapshots as they come, write what `flush` returns whenever you can.

    A cluster's endpoints bear the cluster's own name: what it is sent with, they are sent after.
    """

    def __init__(self, manner: Manner, limits: Limits) -> None:
        """Start before the first request and the first snapshot."""
        self._manner = manner
        self._limits = limits
        self._watches: dict[str, Watch] = {}
        self._upsert_order: tuple[Watch, ...] = ()
        self._removal_order: tuple[Watch, ...] = ()
        self._snapshot: Snapshot | None = None
        self._owed: dict[str, set[str]] = {follower: set() for follower in FOLLOWERS.values()}
        """Names to send again, by type, as what refers to them was sent."""
        self._nonce = 0
        self._flushed = False
        """Whether nothing has come since the last flush by which there could be more to say."""
        self._quiet = False
        """Whether nothing was left to say then, whatever the client answers."""

    def _take(self, request: DeltaRequest) -> tuple[Effect, ...]:
        """Take what a request answers and what it changes."""
        self._check(request)
        watch = self._watches.get(request.type_url) or self._watch(request.type_url)
        answer = watch.acks.take(request.type_url, request.nonce, self._shortened(request.error))
        change = watch.ask(request)
        self._flushed = self._flushed and self._quiet and change is None
        if isinstance(answer, Nacked):
            watch.forget_unwanted(answer.names)
        return tuple(effect for effect in (answer, change) if effect is not None)

    def _watch(self, type_url: str) -> Watch:
        self._watches[type_url] = Watch(type_url, self._manner)
        self._upsert_order = tuple(self._watches[url] for url in in_order(self._watches, UPSERTS))
        self._removal_order = tuple(self._watches[url] for url in in_order(self._watches, REMOVALS))
        return self._watches[type_url]

    def update(self, snapshot: Snapshot) -> None:
        """Say what the node should have from now on. Only the newest counts, whatever lies between flushes."""
        self._snapshot = snapshot
        self._flushed = False

    def flush(self) -> tuple[Send, ...]:
        """Return what to write now, in order: new and changed resources by dependency, then removals.

        Nothing before the first snapshot: an empty answer then would take all that a reconnecting client has.
        """
        if self._snapshot is None or self._flushed:
            return ()
        self._flushed = True
        of_type = self._snapshot.of_type
        stirred = [watch for watch in self._upsert_order if not watch.is_quiet(of_type(watch.type_url))]
        plain = () if not stirred else self._plain(stirred[0]) if len(stirred) == 1 else None
        self._quiet = plain is not None
        return self._weighed(self._snapshot) if plain is None else plain

    def _plain(self, watch: Watch) -> tuple[Send, ...] | None:
        """Return the response that follows from one type's change alone; None where more has to be weighed.

        This is the change of an endpoint, of which thousands of streams are told the same.
        """
        resources = self.snapshot_of(watch.type_url)
        change = watch.plain(resources)
        if change is None or change.size > self._limits.response_bytes or self._held_up(watch):
            return None
        watch.move(resources, change)
        if not change.upserts:
            return ()
        self._nonce += 1
        send = Send(watch.type_url, change.upserts, (), str(self._nonce), resources.version, shared=change)
        watch.acks.sent(send)
        return (send,)

    def _held_up(self, watch: Watch) -> bool:
        """Say whether what a type has to say depends on more than itself."""
        if watch.type_url in FOLLOWERS or len(watch.acks.pending) >= self._limits.unanswered:
            return True
        return bool(self._owed.get(watch.type_url)) or self._has_to_wait(watch)

    def _weighed(self, snapshot: Snapshot) -> tuple[Send, ...]:
        sends: list[Send] = []
        for watch in self._upsert_order:
            watch.look(snapshot.of_type(watch.type_url))
        for watch in self._upsert_order:
            sends += self._upserts(watch)
        for watch in self._removal_order:
            sends += self._removals(watch)
            sends += self._renewals(watch)
        return tuple(sends)

    def beat(self) -> None:
        """Have the resources renewed that the client forgets after their TTL (xDS protocol, "TTL")."""
        self._flushed = False
        for watch in self._upsert_order:
            watch.renew = True

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot that was given."""
        return self._snapshot

    @property
    def acknowledged(self) -> bool:
        """Whether all that can be sent of the snapshot was sent, and answered by ACK or NACK."""
        return self._flushed and bool(self._watches) and not any(w.acks.pending for w in self._watches.values())

    def snapshot_of(self, type_url: str) -> Resources:
        """Return the resources of a type in the newest snapshot."""
        return NO_RESOURCES if self._snapshot is None else self._snapshot.of_type(type_url)

    def subscribed(self, type_url: str) -> frozenset[str]:
        """Return the names of a type that the client wants, of a wildcard those that there are."""
        watch = self._watches.get(type_url)
        if watch is None:
            return frozenset()
        every = self._snapshot.of_type(type_url).keys() if self._snapshot and watch.subscription.wildcard else ()
        return frozenset(watch.subscription.names.union(every))

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The types of which something was sent and not answered."""
        return tuple(watch.type_url for watch in self._upsert_order if watch.acks.pending)

    @property
    def ttl(self) -> float | None:
        """The shortest TTL of what the client asks for, in seconds; None when it keeps all of that for ever."""
        shortest = min((watch.ttl for watch in self._upsert_order), default=math.inf)
        return None if shortest == math.inf else shortest

    @property
    def synced(self) -> bool:
        """Whether all that the client wants of the snapshot was sent, and ACKed."""
        return self.acknowledged and not self.nacks and not any(watch.due for watch in self._watches.values())

    @property
    def nacks(self) -> Mapping[str, str]:
        """The newest error of each type of which the client NACKs something."""
        return {url: w.acks.nacks[-1].error for url, w in self._watches.items() if w.acks.nacks}

    def _upserts(self, watch: Watch) -> list[Send]:
        """Return the responses of one type, removals apart."""
        if len(watch.acks.pending) >= self._limits.unanswered:
            return []
        self._follow(watch)
        if not watch.due and not watch.explicit_answer:
            return []
        if (everything := self._everything(watch)) is not None:
            return [everything]
        together, apart, missing = watch.upserts()
        new = together + apart
        if new and self._has_to_wait(watch):
            together, apart = [], []
        sends = self._say(watch, together, apart, missing, waiting=len(new) - len(together) - len(apart))
        if sends:
            self._owe_followers(watch.type_url, new)
        return sends

    def _everything(self, watch: Watch) -> Send | None:
        """Return the response with all there is, where nothing else is due: thousands of streams begin so."""
        change = watch.all()
        if change is None or change.size > self._limits.response_bytes or self._has_to_wait(watch):
            return None
        self._nonce += 1
        send = Send(watch.type_url, change.upserts, (), str(self._nonce), watch.version, shared=change)
        watch.sent_all(send)
        self._owe_followers(watch.type_url, change.upserts)
        return send

    def _say(
        self, watch: Watch, together: list[Resource], apart: list[Resource], missing: list[str], *, waiting: int
    ) -> list[Send]:
        """Return the responses that say so; `waiting` is how many resources have to wait."""
        if watch.whole:
            asked = together or apart or missing or watch.explicit_answer
            return [self._whole(watch, self._removable(watch))] if asked and not waiting else []
        sends = self._sends(watch, together, missing) + self._sends(watch, apart, ())
        return sends or ([self._send(watch, (), ())] if watch.explicit_answer and not waiting else [])

    def _owe_followers(self, type_url: str, sent: Iterable[Resource]) -> None:
        """Have each changed cluster's endpoints and each changed listener's routes sent after it.

        Without waiting for an ACK: Envoy keeps what has changed warming, its ACK with it, until they come, and
        does not ask for them again (xDS protocol, "Resource warming"; envoy#33607 for the reconnect).
        """
        follower = FOLLOWERS.get(type_url)
        if follower and self._snapshot is not None and (there := self._snapshot.of_type(follower)):
            self._owed[follower] |= followed_by(sent) & there.keys()

    def _follow(self, watch: Watch) -> None:
        """Have what is owed of a type sent, where the client subscribes to it."""
        if owed := self._owed.get(watch.type_url):
            watch.owe(owed)
            owed -= watch.due

    def _removals(self, watch: Watch) -> list[Send]:
        """Return the removals of one type, or none while what the client runs may still refer to them."""
        if not watch.due or len(watch.acks.pending) >= self._limits.unanswered:
            return []
        removed = self._removable(watch)
        if not removed or self._has_to_wait(watch):  # what replaces it has to wait too
            return []
        return [self._whole(watch, removed)] if watch.whole else self._sends(watch, (), removed)

    def _renewals(self, watch: Watch) -> list[Send]:
        """Return what renews TTLs: only of what the client was sent, and never instead of something that is due."""
        if not watch.renew or watch.due or len(watch.acks.pending) >= self._limits.unanswered:
            return []
        watch.renew = False
        renewed = watch.lasting()
        if not renewed:
            return []
        return [self._whole(watch, ()) if watch.whole else self._send(watch, renewed, (), heartbeat=True)]

    def _removable(self, watch: Watch) -> list[str]:
        """Return what the client may be told to remove now."""
        making = any(self._is_making(url) for url in DEPENDENTS.get(watch.type_url, ()))
        return [] if making else watch.removals()

    def _is_making(self, type_url: str) -> bool:
        """Say whether upserts of a type are on their way: unsent, un-ACKed or NACKed."""
        watch = self._watches.get(type_url)
        return watch is not None and (bool(watch.due) or watch.acks.making)

    def _has_to_wait(self, watch: Watch) -> bool:
        """Say whether upserts of a type would overtake what they may refer to."""
        return any(self._applies(url) for url in DEPENDENCIES.get(watch.type_url, ()))

    def _applies(self, type_url: str) -> bool:
        """Say whether upserts of a type are sent, and neither applied nor NACKed yet."""
        watch = self._watches.get(type_url)
        return watch is not None and watch.acks.applying

    def _sends(self, watch: Watch, resources: Iterable[Resource], removed: Collection[str]) -> list[Send]:
        if not self._manner.says_removals:
            watch.know_gone(removed)
            removed = ()
        parts = split(resources, removed, self._limits.response_bytes)
        return [self._send(watch, *part) for part in parts]

    def _whole(self, watch: Watch, removed: Iterable[str]) -> Send:
        """Return the response that holds all that the client should have; TooLarge when that is too much for one."""
        resources = watch.everything(without=frozenset(removed))
        if (size := sum(resource.size for resource in resources)) > self._limits.whole_bytes:
            raise TooLarge(watch.type_url, size, self._limits.whole_bytes)
        return self._send(watch, resources, watch.absent(resources))

    def _send(
        self, watch: Watch, resources: tuple[Resource, ...], removed: tuple[str, ...], *, heartbeat: bool = False
    ) -> Send:
        self._nonce += 1
        version = version_of(resources) if watch.whole else watch.version
        send = Send(watch.type_url, resources, removed, str(self._nonce), version, heartbeat)
        watch.sent(send)
        return send

    def _shortened(self, error: str | None) -> str | None:
        return None if error is None else error[: self._limits.error_characters]

    def _check(self, request: DeltaRequest) -> None:
        """Refuse a request by which the client would hold more of us than it may."""
        if request.type_url not in self._limits.type_urls:
            raise UnknownType(request.type_url)
        if request.type_url not in self._watches and len(self._watches) >= self._limits.types:
            raise LimitExceeded(f"more than {self._limits.types} types on one stream")
        if (most := max(len(request.subscribe), len(request.unsubscribe))) > self._limits.names:
            raise LimitExceeded(f"{most} resource names in one request; at most {self._limits.names} are taken")
        asked = {*request.subscribe, *request.initial_versions}
        if not asked:
            return
        held = self._watches.values()
        names = sum(len(w.subscription.names) + w.claimed[0] for w in held) + len(asked)
        characters = sum(w.subscription.characters + w.claimed[1] for w in held) + sum(map(len, asked))
        characters += sum(map(len, request.initial_versions.values()))
        if names > self._limits.names or characters > self._limits.name_characters:
            raise LimitExceeded(
                f"{names} resource names of {characters} characters on one stream; at most "
                f"{self._limits.names} of {self._limits.name_characters} are taken"
            )
