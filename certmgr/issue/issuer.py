"""Gets an identity from Vault: a key made here, a request signed by the role of its kind, the answer verified.

IssueError        why there is no new certificate
├── NotEnrolled   this host has no credentials for the identity (yet)
└── WrongAnswer   what came back is not what was asked for; never served
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.bundle import Bundle, Key
from certmgr.core.layout import INT_MOUNT, kind_of
from certmgr.core.ledger import Record
from certmgr.core.plan import IdentitySpec
from certmgr.core.trust import anchor
from certmgr.core.verify import faults
from certmgr.issue.csr import key_of, leaf_request
from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.vault import AppRole, Rejected, Token, Vault
from legation.runtime.clock import Clock

_REFUSED_FOR = 10.0
"""Seconds in which credentials that were refused are not tried again."""


class IssueError(Exception):
    """Why there is no new certificate."""


class NotEnrolled(IssueError):
    """Nothing to log in with, for this identity on this host.

    `problem` is what keeps the set-up from working; None: it is on its way, which is no failure.
    """

    def __init__(self, text: str, problem: str | None = None) -> None:
        """Keep the problem, if there is one."""
        self.problem = problem
        super().__init__(text)


class WrongAnswer(IssueError):
    """What came back is not what was asked for."""


class Kept(Protocol):
    """What is kept of the set-up on this host."""

    def credentials(self, name: str) -> AppRole | None:
        """Return what an identity's signer logs in with."""
        ...

    def roots(self) -> tuple[x509.Certificate, ...]:
        """Return the roots that this host trusts."""
        ...


class Issuer:
    """Issues identities by Vault. Blocks; any thread may call."""

    def __init__(
        self,
        vault: Vault,
        kept: Kept,
        clock: Clock,
        problem: Callable[[], str | None],
        record: Callable[[Record], None] = lambda _: None,
    ) -> None:
        """Take what is kept of the set-up, who can say what keeps it from working, and what writes the ledger."""
        self._vault, self._kept, self._clock, self._problem, self._record = vault, kept, clock, problem, record
        self._logins: dict[str, Login] = {}
        self._wishes: dict[str, tuple[str, int]] = {}
        self._refused: dict[str, tuple[AppRole, float]] = {}

    def issue(self, spec: IdentitySpec) -> Bundle:
        """Return a new, verified identity; IssueError, VaultError or Damaged: there is none.

        Its line of the ledger is written; who serves it waits until that is on the disk (`Ledger.settle`).
        """
        roots = self._kept.roots()
        if not roots:
            raise self._not_enrolled("no root is trusted yet")
        login = self._logins.setdefault(spec.name, Login(lambda: self._enter(spec.name), self._clock))
        try:
            key, request, answer = self._sign(spec, login)
        except LoginRefused:
            raise
        except Rejected:  # the team may have decided for another kind of key
            if self._wishes.pop(kind_of(spec.name).role, None) == self._wish(kind_of(spec.name).role, login):
                raise
            key, request, answer = self._sign(spec, login)
        leaf, chain = certificates(answer.get("data") or {})
        anchored = anchor(chain[-1], roots) if chain else None
        root = anchored or roots[0]
        bundle = Bundle(key, leaf, chain, root)
        entry = self._entry(spec, bundle, request, str(answer.get("request_id") or ""))
        self._record(entry)
        if wrong := faults(bundle, spec, root, self._clock.now()):
            fix = "" if anchored else ". If Vault is meant to have another root now, remove certmgr/root.pem"
            raise WrongAnswer(f"the CA's answer is refused: {'; '.join(wrong)}{fix}")
        return bundle

    def _sign(self, spec: IdentitySpec, login: Login) -> tuple[Key, str, Mapping[str, Any]]:
        """Make a key of the kind that the role wants, and have its request signed."""
        role = kind_of(spec.name).role
        try:
            key = key_of(*self._wish(role, login))
        except ValueError as error:
            raise WrongAnswer(str(error)) from None
        request = leaf_request(key)
        answer = login.call(
            lambda token: self._vault.sign(token, INT_MOUNT, role, request=request, uri=spec.spiffe_id, ttl=spec.ttl)
        )
        return key, request, answer

    def _wish(self, role: str, login: Login) -> tuple[str, int]:
        """Return which keys a role wants; what was read once holds until a request is refused."""
        known = self._wishes.get(role)
        if known is None:
            found = login.call(lambda token: self._vault.read(token, f"{INT_MOUNT}/roles/{role}")) or {}
            known = self._wishes[role] = (str(found.get("key_type", "ec")), int(found.get("key_bits") or 0))
        return known

    def _entry(self, spec: IdentitySpec, bundle: Bundle, request: str, request_id: str) -> Record:
        """Return the line of the ledger: before the answer is judged, so that a wrong one can be revoked too."""
        return Record(
            what="issue",
            time=self._clock.now(),
            identity=spec.name,
            serial=bundle.serial,
            request_id=request_id,
            not_after=bundle.life[1],
            csr_sha256=sha256(request.encode()).hexdigest(),
            certificate=bundle.leaf.public_bytes(Encoding.PEM).decode(),
        )

    def forget(self, name: str) -> None:
        """Drop the token of an identity, so that its next issue logs in anew."""
        self._logins.pop(name, None)

    def _enter(self, name: str) -> Token:
        """Log in; credentials that were refused are not shown again at once, as Vault locks out who does that."""
        credentials = self._enrolled(name)
        refused, until = self._refused.get(name, (None, 0.0))
        if credentials == refused and self._clock.now() < until:
            raise LoginRefused("its credentials were refused just now: waiting for others")
        try:
            return self._vault.login(credentials)
        except Rejected:
            self._refused[name] = credentials, self._clock.now() + _REFUSED_FOR
            raise

    def _enrolled(self, name: str) -> AppRole:
        credentials = self._kept.credentials(name)
        if credentials is None:
            raise self._not_enrolled("no credentials yet")
        return credentials

    def _not_enrolled(self, what: str) -> NotEnrolled:
        problem = self._problem()
        return NotEnrolled(f"{what}: waiting for the set-up of the CA" + (f" ({problem})" if problem else ""), problem)


def certificates(answer: Mapping[str, Any]) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Return the leaf and the intermediates of an answer; a root among them is left out."""
    try:
        leaf = x509.load_pem_x509_certificate(answer["certificate"].encode())
        above = [
            x509.load_pem_x509_certificate(pem.encode()) for pem in answer.get("ca_chain") or [answer["issuing_ca"]]
        ]
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise WrongAnswer("the CA's answer is refused: it holds no certificates") from error
    return leaf, tuple(certificate for certificate in above if certificate.issuer != certificate.subject)
