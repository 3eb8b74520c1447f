"""A state-of-the-world client of ours for playbooks: each request says all names, and the newest nonce."""

from dataclasses import dataclass, field

from tests.xds_server.protocol.client import LETTER, SHORT, snapshot
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.types import Effect, Limits, Send, SotwRequest


def text(send: Send) -> str:
    """A response as a line: `c web=1 old=2`; a heartbeat as `e ~web`."""
    shown = [f"~{r.name}" if send.heartbeat else f"{r.name}={r.body.decode()}" for r in send.resources]
    return " ".join([LETTER[send.type_url], *shown])


@dataclass
class SotwClient:
    """One stream and its client."""

    stream: SotwStream
    waiting: list[Send] = field(default_factory=list)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, specs: str = "", limits: Limits | None = None) -> "SotwClient":
        stream = SotwStream(limits) if limits else SotwStream()
        stream.update(snapshot(specs))
        return cls(stream)

    def ask(self, letter: str, *names: str) -> list[str]:
        """Say all names of a type; return what comes."""
        self.request(letter, names)
        return self.read()

    def request(
        self, letter: str, names: tuple[str, ...] | None = None, nonce: str | None = None, error: str | None = None
    ) -> tuple[Effect, ...]:
        if names is not None:
            self.names[letter] = names
        return self.stream.receive(
            SotwRequest(
                SHORT[letter],
                self.names.get(letter, ()),
                self.versions.get(letter, ""),
                self.nonces.get(letter, "") if nonce is None else nonce,
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
        """Apply and ACK all that waits (of a type), in order."""
        return tuple(effect for send in self._take(letter) for effect in self.answer(send))

    def nack(self, letter: str = "", error: str = "no") -> tuple[Effect, ...]:
        return tuple(effect for send in self._take(letter) for effect in self.answer(send, error))

    def answer(self, send: Send, error: str | None = None) -> tuple[Effect, ...]:
        letter = LETTER[send.type_url]
        self.nonces[letter] = send.nonce
        if error is None:
            self.versions[letter] = send.version
        return self.request(letter, error=error)

    def settle(self) -> list[str]:
        came = []
        while self.waiting:
            self.ack()
            came += self.read()
        return came

    def _take(self, letter: str) -> list[Send]:
        taken = [send for send in self.waiting if not letter or send.type_url == SHORT[letter]]
        self.waiting = [send for send in self.waiting if send not in taken]
        return taken
