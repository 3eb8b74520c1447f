"""The delta variant of the xDS transport protocol: every decision of one stream, without I/O.

xDS protocol, "Incremental xDS". What this file does not hold is per type, in `watch`.
"""

from collections.abc import Collection, Iterable, Mapping

from xds_server.protocol.difference import Differences
from xds_server.protocol.order import DEPENDENCIES, DEPENDENTS, REMOVALS, UPSERTS, in_order, split
from xds_server.protocol.types import DeltaRequest, Effect, LimitExceeded, Limits, Send, UnknownType
from xds_server.protocol.watch import Watch
from xds_server.snapshot import CLUSTER, ENDPOINT, Resource, Snapshot

_DEFAULT = Limits()


class DeltaStream:
    """One stream: give it requests and snapshots as they come, write what `flush` returns whenever you can.

    A cluster's endpoints bear the cluster's own name: what it is sent with, they are sent after.
    """

    def __init__(self, limits: Limits = _DEFAULT, differences: Differences | None = None) -> None:
        """Start before the first request and the first snapshot; the streams of a server share `differences`."""
        self._limits = limits
        self._differences = differences or Differences()
        self._watches: dict[str, Watch] = {}
        self._snapshot: Snapshot | None = None
        self._owed_endpoints: set[str] = set()
        self._nonce = 0
        self._flushed = False

    def receive(self, request: DeltaRequest) -> tuple[Effect, ...]:
        """Take a request and return what is worth observing of it; LimitExceeded leaves all as it was.

        An answer to an unknown nonce is only `Stale`; what it subscribes to counts all the same.
        """
        self._check(request)
        self._flushed = False
        watch = self._watches.get(request.type_url)
        if watch is None:
            watch = self._watches[request.type_url] = Watch(request.type_url, self._differences)
        answer = watch.acks.take(request.type_url, request.nonce, self._shortened(request.error))
        change = watch.ask(request)
        return tuple(effect for effect in (answer, change) if effect is not None)

    def update(self, snapshot: Snapshot) -> None:
        """Say what the node should have from now on. Only the newest counts, whatever lies between flushes."""
        self._snapshot = snapshot
        self._flushed = False

    def flush(self) -> tuple[Send, ...]:
        """Return what to write now, in order: new and changed resources by dependency, then removals.

        Nothing before the first snapshot: an empty answer then would take all that a reconnecting client has.
        """
        if self._snapshot is None:
            return ()
        sends: list[Send] = []
        for url in in_order(self._watches, UPSERTS):
            self._watches[url].look(self._snapshot.of_type(url))
            sends += self._upserts(self._watches[url])
        for url in in_order(self._watches, REMOVALS):
            sends += self._removals(self._watches[url])
        self._flushed = True
        return tuple(sends)

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot that was given."""
        return self._snapshot

    @property
    def acknowledged(self) -> bool:
        """Whether all that can be sent of the snapshot was sent, and answered by ACK or NACK."""
        return self._flushed and bool(self._watches) and not any(w.acks.pending for w in self._watches.values())

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
        if watch.type_url == ENDPOINT:
            self._follow_clusters(watch)
        if not watch.due and not watch.explicit_answer:
            return []
        together, apart, missing = watch.upserts()
        if any(self._applies(url) for url in DEPENDENCIES.get(watch.type_url, ())):
            return self._sends(watch, (), missing) or self._nothing(watch, but=together + apart)
        sends = self._sends(watch, together, missing) + self._sends(watch, apart, ()) or self._nothing(watch)
        if watch.type_url == CLUSTER and self._snapshot is not None:
            sent = {resource.name for send in sends for resource in send.resources}
            self._owed_endpoints |= sent & self._snapshot.of_type(ENDPOINT).keys()
        return sends

    def _nothing(self, watch: Watch, but: Collection[Resource] = ()) -> list[Send]:
        """Return the explicit answer to a wildcard of which there is nothing, where one is waited for."""
        return [self._send(watch, (), ())] if watch.explicit_answer and not but else []

    def _follow_clusters(self, endpoints: Watch) -> None:
        """Have each changed cluster's endpoints sent after it, without waiting for an ACK.

        Envoy keeps the changed cluster warming, its ACK with it, until they come, and does not ask
        for them again (envoy#33607 for the reconnect).
        """
        endpoints.owe(self._owed_endpoints)
        self._owed_endpoints -= endpoints.due

    def _removals(self, watch: Watch) -> list[Send]:
        """Return the removals of one type, or none while what the client runs may still refer to them."""
        if not watch.due or len(watch.acks.pending) >= self._limits.unanswered:
            return []
        if any(self._is_making(url) for url in DEPENDENTS.get(watch.type_url, ())):
            return []
        return self._sends(watch, (), watch.removals())

    def _is_making(self, type_url: str) -> bool:
        """Say whether upserts of a type are on their way: unsent, un-ACKed or NACKed."""
        watch = self._watches.get(type_url)
        return watch is not None and (bool(watch.due) or watch.acks.making)

    def _applies(self, type_url: str) -> bool:
        """Say whether upserts of a type are sent, and neither applied nor NACKed yet."""
        watch = self._watches.get(type_url)
        return watch is not None and watch.acks.applying

    def _sends(self, watch: Watch, resources: Iterable[Resource], removed: Iterable[str]) -> list[Send]:
        parts = split(resources, removed, self._limits.response_bytes)
        return [self._send(watch, *part) for part in parts]

    def _send(self, watch: Watch, resources: tuple[Resource, ...], removed: tuple[str, ...]) -> Send:
        self._nonce += 1
        send = Send(watch.type_url, resources, removed, str(self._nonce))
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
