"""Any conversation ends with the client holding exactly its slice of the snapshot, and nothing sent in vain."""

from collections import Counter, defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.types import WILDCARD, Acked, DeltaRequest, Limits, Nacked, Send, Stale
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

TYPES = st.sampled_from([CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET])
NAMES = st.sampled_from(["a", "b", "d"])
CONTENT = st.sampled_from([b"1", b"2", b"bad1", b"bad2", None])
HELD_BACK = (CLUSTER, ENDPOINT)


class Conversation(RuleBasedStateMachine):
    """A publisher, a client that NACKs what is called bad, and a stream between them that may be lost."""

    @initialize()
    def start(self):
        self.published: dict[tuple[str, str], bytes] = {}
        self.wanted: dict[str, set[str]] = {}
        self.held: defaultdict[str, dict[str, Resource]] = defaultdict(dict)
        self.connect()

    def connect(self):
        self.stream = DeltaStream(Limits(unanswered=3, response_bytes=400))
        self.pendinged: set[str] = set()
        self.inbox: list[Send] = []
        self.nonces: Counter[str] = Counter()
        self.told: dict[tuple[str, str], str] = {}
        self.excused: set[tuple[str, str]] = set()
        self.nacked: dict[tuple[str, str], str] = {}
        self.push()

    def push(self):
        self.stream.update(Snapshot.of(Resource.of(url, name, body) for (url, name), body in self.published.items()))

    @rule(url=TYPES, name=NAMES, body=CONTENT)
    def publish(self, url, name, body):
        self.published.pop((url, name), None)
        if body is not None:
            self.published[url, name] = body
        self.push()

    @rule()
    def reconnect(self):
        self.connect()

    @rule(url=TYPES)
    def open(self, url):
        """Ask of a type for the first time on this stream: what is held from before is reported."""
        if url in self.pendinged:
            return
        self.pendinged.add(url)
        wanted = self.wanted.setdefault(url, {WILDCARD} if url in (CLUSTER, LISTENER) else set())
        held = {name: resource.version for name, resource in self.held[url].items()}
        legacy = wanted == {WILDCARD} and url in (CLUSTER, LISTENER)
        self.stream.receive(DeltaRequest(url, () if legacy else tuple(wanted) or ("d",), (), held))
        if not wanted:
            wanted.add("d")
        self.told |= {(url, name): version for name, version in held.items()}
        self.excused |= {(url, name) for name in wanted if name not in held}

    @rule(url=TYPES, name=NAMES | st.just(WILDCARD))
    def subscribe(self, url, name):
        if url not in self.pendinged:
            return
        self.stream.receive(DeltaRequest(url, (name,)))
        self.wanted[url].add(name)
        self.excused.add((url, name))

    @rule(url=TYPES, name=NAMES | st.just(WILDCARD))
    def unsubscribe(self, url, name):
        if url not in self.pendinged:
            return
        self.drop(url, name)
        self.stream.receive(DeltaRequest(url, (), (name,)))

    def drop(self, url, name):
        self.wanted[url].discard(name)
        if WILDCARD in self.wanted[url]:
            self.excused.add((url, name))
            return
        for gone in set(self.held[url]) - self.wanted[url]:
            del self.held[url][gone]
        for key in [key for key in self.told if key[0] == url and key[1] not in self.wanted[url]]:
            del self.told[key]
            self.nacked.pop(key, None)

    @rule(url=TYPES, nonce=st.integers(1, 30), error=st.sampled_from([None, "no"]))
    def answer_what_was_answered(self, url, nonce, error):
        """A stale answer that brings a name all the same."""
        if url in self.pendinged and str(nonce) not in {send.nonce for send in self.inbox if send.type_url == url}:
            effects = self.stream.receive(DeltaRequest(url, ("a",), (), {}, str(nonce), error))
            assert effects[0] == Stale(url, str(nonce))
            self.wanted[url].add("a")
            self.excused.add((url, "a"))

    @rule()
    def flush(self):
        for send in self.stream.flush():
            self.check(send)
            self.inbox.append(send)

    def check(self, send: Send):
        assert send.nonce not in self.nonces
        self.nonces[send.nonce] += 1
        assert len(set(send.names)) == len(send.names)
        assert send.names or send.type_url in (CLUSTER, LISTENER) or WILDCARD in self.wanted[send.type_url]
        clusters = [s for s in self.inbox if s.type_url == CLUSTER and s.resources]
        assert not (send.type_url in (LISTENER, ROUTE) and send.resources and clusters), "overtakes its clusters"
        for resource in send.resources:
            key = (send.type_url, resource.name)
            assert self.told.get(key) != resource.version or key in self.excused, f"{key} is sent in vain"
            assert self.published[key] == resource.body
            self.told[key] = resource.version
            self.excused.discard(key)
            if send.type_url == CLUSTER:
                self.excused.add((ENDPOINT, resource.name))
        for name in send.removed:
            self.check_removal(send.type_url, name)

    def check_removal(self, url, name):
        assert (url, name) not in self.published
        if (url, name) in self.told and (url, name) not in self.excused and url in HELD_BACK:
            making = [send for send in self.inbox if send.type_url in (LISTENER, ROUTE) and send.resources]
            assert not making, "a removal overtakes what it may break"
            assert not any(key[0] in (LISTENER, ROUTE) for key in self.nacked), "a removal despite a nack"
        self.told.pop((url, name), None)
        self.excused.discard((url, name))

    @precondition(lambda self: self.inbox)
    @rule(data=st.data(), partly=st.booleans())
    def answer(self, data, partly):
        """Apply the oldest response of some type; what holds bad content is NACKed, in part or in whole."""
        url = data.draw(st.sampled_from(sorted({send.type_url for send in self.inbox})))
        self.answer_one(next(send for send in self.inbox if send.type_url == url), partly)

    def answer_one(self, send, partly):
        url = send.type_url
        self.inbox.remove(send)
        bad = {resource.name for resource in send.resources if resource.body.startswith(b"bad")}
        if partly or not bad:
            self.apply(send, bad)
        for name in send.names:
            self.nacked.pop((url, name), None)
        if bad:
            self.nacked |= {(url, r.name): r.version for r in send.resources if self.wants(url, r.name)}
            if len(send.resources) > 1:
                self.excused |= {(url, name) for name in send.names}
        (effect,) = self.stream.receive(DeltaRequest(url, (), (), {}, send.nonce, "bad" if bad else None))
        assert effect == (Nacked(url, send.nonce, send.names, "bad") if bad else Acked(url, send.nonce, send.names))

    def wants(self, url, name):
        return bool({WILDCARD, name} & self.wanted[url])

    def apply(self, send, bad):
        held = self.held[send.type_url]
        for resource in send.resources:
            if resource.name not in bad and self.wants(send.type_url, resource.name):
                held[resource.name] = resource
        for name in send.removed:
            held.pop(name, None)

    def quiet(self):
        """Let everything be sent and answered; it has to end."""
        for _ in range(60):
            self.flush()
            if not self.inbox:
                assert self.stream.acknowledged or not self.pendinged
                return
            while self.inbox:
                self.answer_one(self.inbox[0], partly=False)
        raise AssertionError("the conversation does not end")

    @rule()
    def settle(self):
        """With nothing bad left, the client holds its slice, and the stream knows it."""
        self.quiet()
        self.published = {key: body.removeprefix(b"bad") for key, body in self.published.items()}
        self.push()
        self.quiet()
        for url in self.pendinged:
            slice_ = {n: body for (u, n), body in self.published.items() if u == url and self.wants(url, n)}
            assert slice_ == {name: resource.body for name, resource in self.held[url].items()}
        assert self.stream.nacks == {}
        assert self.stream.synced or not self.pendinged


Conversation.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestConversation = Conversation.TestCase
