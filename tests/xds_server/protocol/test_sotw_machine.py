"""Any state-of-the-world conversation ends with the client holding its slice, and nothing is sent in vain."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.types import WILDCARD, Acked, Limits, Nacked, Send, SotwRequest, Stale
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

TYPES = st.sampled_from([CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET])
NAMES = st.sets(st.sampled_from(["a", "b", "d", WILDCARD]))
CONTENT = st.sampled_from([b"1", b"2", b"bad1", b"bad2", None])
WHOLE = (CLUSTER, LISTENER)


class Conversation(RuleBasedStateMachine):
    """A publisher, a client that says all names each time and NACKs what is called bad, and a stream between them."""

    @initialize()
    def start(self):
        self.published: dict[tuple[str, str], bytes] = {}
        self.names: dict[str, set[str]] = {}
        self.legacy: dict[str, bool] = {}
        self.held: defaultdict[str, dict[str, Resource]] = defaultdict(dict)
        self.versions: dict[str, str] = {}
        self.connect()

    def connect(self):
        """Open a new stream; a version is claimed only of what was never narrowed: it names all that was sent."""
        self.versions = {url: version for url, version in self.versions.items() if self.legacy.get(url)}
        self.stream = SotwStream(Limits(unanswered=3, response_bytes=400))
        self.open: set[str] = set()
        self.inbox: list[Send] = []
        self.nonces: dict[str, str] = {}
        self.nacked: dict[str, str] = {}
        self.last: dict[str, Send] = {}
        self.told: dict[tuple[str, str], str] = {}
        self.excused: set[tuple[str, str]] = set()
        self.excused_whole: set[str] = set()
        self.push()

    def push(self):
        self.stream.update(Snapshot.of(Resource.of(url, name, body) for (url, name), body in self.published.items()))

    def say(self, url, nonce=None, error=None):
        nonce = self.nonces.get(url, "") if nonce is None else nonce
        names = tuple(sorted(self.names[url]))
        return self.stream.receive(SotwRequest(url, names, self.versions.get(url, ""), nonce, error))

    def wants(self, url, name):
        return self.legacy[url] or bool({WILDCARD, name} & self.names[url])

    @rule(url=TYPES, name=st.sampled_from(["a", "b", "d"]), body=CONTENT)
    def publish(self, url, name, body):
        self.published.pop((url, name), None)
        if body is not None:
            self.published[url, name] = body
        else:
            self.excused.add((url, name))
        self.push()

    @rule()
    def reconnect(self):
        self.connect()

    @rule(url=TYPES, names=NAMES)
    def ask(self, url, names):
        """Say other names than before, or a type's first; it counts if the client knows the newest nonce."""
        if any(send.type_url == url for send in self.inbox):
            return
        first = url not in self.open
        before = self.names.get(url, set()) if not first else set()
        self.open.add(url)
        if first:
            names = names if self.names.get(url) is None else self.names[url]
            self.legacy[url] = url in WHOLE and not names
        elif names:
            self.legacy[url] = False
        self.names[url] = set(names)
        for name in names - before:
            self.excused.add((url, name))
        if first or names != before:
            self.excused_whole.add(url)
        for gone in [name for name in self.held[url] if not self.wants(url, name)]:
            del self.held[url][gone]
        for key in [key for key in self.told if key[0] == url and not self.wants(*key)]:
            del self.told[key]
        self.say(url)

    @rule(url=TYPES)
    def say_the_same_again(self, url):
        if url in self.open and not any(send.type_url == url for send in self.inbox):
            assert self.say(url) == ()

    @rule(url=TYPES, nonce=st.integers(100, 200), error=st.sampled_from([None, "no"]))
    def answer_what_was_never_sent(self, url, nonce, error):
        if url in self.open:
            assert self.say(url, str(nonce), error) == (Stale(url, str(nonce)),)

    @rule()
    def flush(self):
        for send in self.stream.flush():
            self.check(send)
            self.inbox.append(send)
            self.last[send.type_url] = send

    def check(self, send: Send):
        url = send.type_url
        names = [resource.name for resource in send.resources]
        assert len(set(names)) == len(names)
        clusters = [s for s in self.inbox if s.type_url == CLUSTER and s.resources]
        assert not (url in (LISTENER, ROUTE) and self.brings_new(send) and clusters), "overtakes its clusters"
        if url in WHOLE:
            self.check_whole(send)
        else:
            assert send.resources or WILDCARD in self.names[url]
            for resource in send.resources:
                key = (url, resource.name)
                assert self.published[key] == resource.body
                assert self.told.get(key) != resource.version or key in self.excused, f"{key} is sent in vain"
        for resource in send.resources:
            key = (url, resource.name)
            if url == CLUSTER and self.told.get(key) != resource.version:
                self.excused.add((ENDPOINT, resource.name))
            self.told[key] = resource.version
            self.excused.discard(key)
        if url in WHOLE:
            for key in [key for key in self.told if key[0] == url and key[1] not in names]:
                del self.told[key]

    def brings_new(self, send):
        return any(self.told.get((send.type_url, r.name)) != r.version for r in send.resources)

    def check_whole(self, send):
        url = send.type_url
        wanted = {n: body for (u, n), body in self.published.items() if u == url and self.wants(url, n)}
        said = {resource.name: resource.body for resource in send.resources}
        assert wanted.items() <= said.items(), "something is missing"
        last = self.last.get(url)
        assert last is None or last.resources != send.resources or url in self.excused_whole, "nothing new"
        self.excused_whole.discard(url)
        gone = {n for (u, n) in self.told if u == url and n not in said}
        assert not gone & wanted.keys()
        if url == CLUSTER and gone:
            making = [s for s in self.inbox if s.type_url in (LISTENER, ROUTE) and s.resources]
            assert not making, "a removal overtakes what it may break"
            assert not {LISTENER, ROUTE} & self.nacked.keys(), "a removal despite a nack"

    @precondition(lambda self: self.inbox)
    @rule(data=st.data(), partly=st.booleans())
    def answer(self, data, partly):
        url = data.draw(st.sampled_from(sorted({send.type_url for send in self.inbox})))
        self.answer_one(next(send for send in self.inbox if send.type_url == url), partly)

    def answer_one(self, send, partly):
        url = send.type_url
        self.inbox.remove(send)
        self.nonces[url] = send.nonce
        bad = {resource.name for resource in send.resources if resource.body.startswith(b"bad")}
        if partly or not bad:
            self.apply(send, bad)
        if bad:
            self.nacked[url] = send.nonce
            if url == CLUSTER:  # which were applied is not known: those that come again, their endpoints follow again
                self.excused |= {(ENDPOINT, resource.name) for resource in send.resources}
            if url not in WHOLE and len(send.resources) > 1:
                self.excused |= {(url, resource.name) for resource in send.resources}
        else:
            self.versions[url] = send.version
            if url in WHOLE:
                self.nacked.pop(url, None)
        (effect,) = self.say(url, error="bad" if bad else None)
        assert effect == (Nacked(url, send.nonce, send.names, "bad") if bad else Acked(url, send.nonce, send.names))
        self.nacked = {u: n for u, n in self.nacked.items() if u in self.stream.nacks}

    def apply(self, send, bad):
        url = send.type_url
        fresh = {r.name: r for r in send.resources if r.name not in bad and self.wants(url, r.name)}
        if url in WHOLE:
            kept = {name: r for name, r in self.held[url].items() if name in bad}
            self.held[url] = kept | fresh
        else:
            self.held[url] |= fresh

    def quiet(self):
        """Let everything be sent and answered; it has to end."""
        for _ in range(60):
            self.flush()
            if not self.inbox:
                assert self.stream.acknowledged or not self.open
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
        for url in self.open:
            slice_ = {n: body for (u, n), body in self.published.items() if u == url and self.wants(url, n)}
            held = {name: resource.body for name, resource in self.held[url].items()}
            if url in WHOLE:
                assert slice_ == held
            else:
                assert slice_.items() <= held.items()
        assert self.stream.nacks == {}
        assert self.stream.synced or not self.open


Conversation.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestConversation = Conversation.TestCase
