"""Gets an identity from Vault: a key made here, a request signed by the role of its kind, the answer verified.

IssueError        why there is no new certificate
├── NotEnrolled   this host has no credentials for the identity (yet)
└── WrongAnswer   what came back is not what was asked for; never served
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cryptography import x509

from certmgr.core.bundle import Bundle
from certmgr.core.layout import INT_MOUNT, kind_of
from certmgr.core.plan import IdentitySpec
from certmgr.core.verify import faults
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.login import Login
from certmgr.issue.vault import AppRole, Vault
from legation.runtime.clock import Clock


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

    def root(self) -> x509.Certificate | None:
        """Return the root that this host trusts."""
        ...


class Issuer:
    """Issues identities by Vault. Blocks; any thread may call."""

    def __init__(self, vault: Vault, kept: Kept, clock: Clock, problem: Callable[[], str | None]) -> None:
        """Take what is kept of the set-up, and who can say what keeps the set-up from working."""
        self._vault, self._kept, self._clock, self._problem = vault, kept, clock, problem
        self._logins: dict[str, Login] = {}

    def issue(self, spec: IdentitySpec) -> Bundle:
        """Return a new, verified identity; IssueError, VaultError or Damaged when there is none."""
        root = self._kept.root()
        if root is None:
            raise self._not_enrolled("no root is trusted yet")
        key = new_key()
        request = leaf_request(key)
        login = self._logins.setdefault(
            spec.name, Login(lambda: self._vault.login(self._enrolled(spec.name)), self._clock)
        )
        answer = login.call(
            lambda token: self._vault.sign(
                token, INT_MOUNT, kind_of(spec.name).role, request=request, uri=spec.spiffe_id, ttl=spec.ttl
            )
        )
        leaf, chain = _certificates(answer)
        bundle = Bundle(key, leaf, chain, root)
        if wrong := faults(bundle, spec, root, self._clock.now()):
            raise WrongAnswer(f"the CA's answer is refused: {'; '.join(wrong)}")
        return bundle

    def forget(self, name: str) -> None:
        """Drop the token of an identity, so that its next issue logs in anew."""
        self._logins.pop(name, None)

    def _enrolled(self, name: str) -> AppRole:
        credentials = self._kept.credentials(name)
        if credentials is None:
            raise self._not_enrolled("no credentials yet")
        return credentials

    def _not_enrolled(self, what: str) -> NotEnrolled:
        problem = self._problem()
        return NotEnrolled(f"{what}: waiting for the set-up of the CA" + (f" ({problem})" if problem else ""), problem)


def _certificates(answer: Mapping[str, Any]) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Return the leaf and the intermediates of an answer; a root among them is left out."""
    try:
        leaf = x509.load_pem_x509_certificate(answer["certificate"].encode())
        above = [
            x509.load_pem_x509_certificate(pem.encode()) for pem in answer.get("ca_chain") or [answer["issuing_ca"]]
        ]
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise WrongAnswer("the CA's answer is refused: it holds no certificates") from error
    return leaf, tuple(certificate for certificate in above if certificate.issuer != certificate.subject)
