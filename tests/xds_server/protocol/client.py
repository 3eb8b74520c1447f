"""A delta xDS client of ours for playbooks: it holds what it was sent, and answers when it is told to."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.types import DeltaRequest, Effect, Limits, Send
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

SHORT = {"c": CLUSTER, "e": ENDPOINT, "s": SECRET, "l": LISTENER, "r": ROUTE}
LETTER = {url: letter for letter, url in SHORT.items()}


def resource(spec: str) -> Resource:
    """`c:web=1` is the cluster web with content 1."""
    name, _, content = spec.partition("=")
    return Resource.of(SHORT[name[0]], name[2:], (content or "1").encode())


def snapshot(specs: str = "") -> Snapshot:
    """`c:web=1 e:web=1 l:in` as a snapshot."""
    return Snapshot.of(resource(spec) for spec in specs.split())


def text(send: Send) -> str:
    """A response as a line: `c +web=1 -old`."""
    upserts = [f"+{r.name}={r.body.decode()}" for r in send.resources]
    return " ".join([LETTER.get(send.type_url, send.type_url), *upserts, *(f"-{name}" for name in send.removed)])


@dataclass
class Client:
    """One stream and its client."""

    stream: DeltaStream
    waiting: list[Send] = field(default_factory=list)
    held: dict[str, dict[str, Resource]] = field(default_factory=dict)

    @classmethod
    def on(cls, specs: str = "", limits: Limits | None = None) -> "Client":
        stream = DeltaStream(limits) if limits else DeltaStream()
        stream.update(snapshot(specs))
        return cls(stream)

    def ask(self, letter: str, *changes: str, held: dict[str, str] | None = None, nonce: str = "") -> list[str]:
        """Subscribe to `+name`, unsubscribe `-name`; return what comes."""
        self.request(letter, changes, held=held, nonce=nonce)
        return self.read()

    def request(
        self,
        letter: str,
        changes: Iterable[str] = (),
        held: dict[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> tuple[Effect, ...]:
        return self.stream.receive(
            DeltaRequest(
                SHORT.get(letter, letter),
                tuple(change[1:] for change in changes if change[0] == "+"),
                tuple(change[1:] for change in changes if change[0] == "-"),
                held or {},
                nonce,
                error,
            )
        )

    def publish(self, specs: str) -> list[str]:
        """Change the snapshot; return what comes."""
        self.stream.update(snapshot(specs))
        return self.read()

    def read(self) -> list[str]:
        sends = self.stream.flush()
        self.waiting += sends
        return [text(send) for send in sends]

    def ack(self, letter: str = "") -> tuple[Effect, ...]:
        """Apply and ACK all that waits (of a type)."""
        effects: tuple[Effect, ...] = ()
        for send in self._take(letter):
            held = self.held.setdefault(send.type_url, {})
            held.update({r.name: r for r in send.resources})
            for name in send.removed:
                held.pop(name, None)
            effects += self.request(send.type_url, nonce=send.nonce)
        return effects

    def nack(self, letter: str = "", error: str = "no") -> tuple[Effect, ...]:
        """Refuse all that waits (of a type)."""
        return tuple(e for s in self._take(letter) for e in self.request(s.type_url, nonce=s.nonce, error=error))

    def settle(self) -> list[str]:
        """ACK and read until nothing comes; return all that came."""
        came = []
        while self.waiting:
            self.ack()
            came += self.read()
        return came

    def _take(self, letter: str) -> list[Send]:
        taken = [send for send in self.waiting if not letter or send.type_url == SHORT[letter]]
        self.waiting = [send for send in self.waiting if send not in taken]
        return taken
