"""What a client answered to what it was sent: pending ACKs, and what it NACKed.

xDS protocol, "ACK and NACK semantics summary".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.protocol.types import Acked, Nacked, Send, Stale


@dataclass(slots=True)
class Nack:
    """One NACKed response: of each name in it that has not been accepted since, the NACKed version.

    The version of a NACKed removal is None. `retried`: its contents changed, so what was NACKed
    together with them has had its second chance.
    """

    error: str
    versions: dict[str, str | None]
    retried: bool = False


@dataclass(slots=True)
class PendingAcks:
    """The responses of one type on one stream that wait for an ACK, and those that were NACKed."""

    pending: dict[str, Send] = field(default_factory=dict)
    """Responses without an answer, by nonce, oldest first."""
    newest: str = ""
    """Nonce of the response that was sent last."""
    nacks: list[Nack] = field(default_factory=list)

    def sent(self, send: Send) -> None:
        """Note a response that goes out."""
        self.pending[send.nonce] = send
        self.newest = send.nonce

    def supersede(self, nonce: str) -> None:
        """Wait no more for answers to what was sent before a response that is answered now."""
        if nonce in self.pending:
            for older in list(self.pending):
                if older == nonce:
                    return
                del self.pending[older]

    def take(self, type_url: str, nonce: str, error: str | None) -> Acked | Nacked | Stale | None:
        """Take what a request says of a response; None when it speaks of none.

        An error is a NACK, whatever else the request holds; without one it is an ACK. Versions
        are never compared (xDS protocol, "ACK and NACK semantics summary").
        """
        if not nonce and error is None:
            return None
        send = self.pending.pop(nonce, None)
        if send is None:
            return Stale(type_url, nonce)
        self.forget(send.names)
        if error is None:
            return Acked(type_url, nonce, send.names)
        versions: dict[str, str | None] = {resource.name: resource.version for resource in send.resources}
        self.nacks.append(Nack(error, versions | dict.fromkeys(send.removed)))
        sources = dict.fromkeys(r.source for r in send.resources if r.source is not None)
        return Nacked(type_url, nonce, send.names, error, tuple(sources))

    def forget(self, names: Iterable[str]) -> None:
        """Drop names from all nacks: they were accepted, NACKed anew, or are not wanted any more."""
        for nack in self.nacks:
            for name in names:
                nack.versions.pop(name, None)
        self.nacks = [nack for nack in self.nacks if nack.versions]

    def retry(self, versions: Mapping[str, str | None]) -> set[str]:
        """Return what may go again, because something that was NACKed together with it has changed.

        A NACK does not say which resource is the bad one, and the good ones beside it may not have
        been applied. They go again without what changed, and once: the NACKed content as a whole
        is never repeated, and each round is smaller than the one before.
        """
        again: set[str] = set()
        for nack in self.nacks:
            changed = {name for name, version in nack.versions.items() if versions.get(name) != version}
            if changed and not nack.retried:
                nack.retried = True
                again |= {name for name, version in nack.versions.items() if version and name not in changed}
        return again

    @property
    def applying(self) -> bool:
        """Whether an upsert is neither ACKed nor NACKed yet."""
        return any(send.resources for send in self.pending.values())

    @property
    def making(self) -> bool:
        """Whether an upsert is not known to be applied: un-ACKed, or NACKed."""
        return bool(self.nacks) or self.applying
