"""Gets an identity from Vault: a key made here, a request signed by the service's own role, the answer verified.

IssueError        why there is no new certificate
├── NotEnrolled   this host has no credentials for the identity (yet)
└── WrongAnswer   what came back is not what was asked for; never served
"""

from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509

from certmgr.core.bundle import Bundle
from certmgr.core.plan import Wanted
from certmgr.core.verify import faults
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.login import Login
from certmgr.issue.vault import AppRole, Vault
from legation.runtime.clock import Clock
from legation.runtime.openbao import INT_MOUNT


class IssueError(Exception):
    """Why there is no new certificate."""


class NotEnrolled(IssueError):
    """This host has no credentials for the identity."""


class WrongAnswer(IssueError):
    """What came back is not what was asked for."""


class Issuer:
    """Issues identities by Vault. Blocks; any thread may call."""

    def __init__(
        self,
        vault: Vault,
        credentials: Callable[[str], AppRole | None],
        pinned: Callable[[], x509.Certificate | None],
        clock: Clock,
    ) -> None:
        """Take where the credentials of a service, and the root that this host trusts, are found."""
        self._vault, self._credentials, self._pinned, self._clock = vault, credentials, pinned, clock
        self._logins: dict[str, Login] = {}

    def issue(self, wanted: Wanted) -> Bundle:
        """Return a new, verified identity; IssueError or VaultError when there is none."""
        root = self._pinned()
        if root is None:
            raise NotEnrolled("no root is trusted yet: waiting for the set-up of the CA")
        key = new_key()
        request = leaf_request(key)
        login = self._logins.setdefault(
            wanted.name, Login(self._vault, lambda: self._enrolled(wanted.name), self._clock)
        )
        answer = login.call(
            lambda token: self._vault.sign(token, INT_MOUNT, wanted.name, request, wanted.spiffe_id, wanted.ttl)
        )
        leaf, chain = _certificates(answer)
        bundle = Bundle(key, leaf, chain, root)
        if wrong := faults(bundle, wanted, root, self._clock.now()):
            raise WrongAnswer(f"the CA's answer is refused: {'; '.join(wrong)}")
        return bundle

    def forget(self, name: str) -> None:
        """Drop the token of an identity, so that its next issue logs in anew."""
        self._logins.pop(name, None)

    def _enrolled(self, name: str) -> AppRole:
        credentials = self._credentials(name)
        if credentials is None:
            raise NotEnrolled("no credentials yet: waiting for the set-up of the CA")
        return credentials


def _certificates(answer: Mapping[str, Any]) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Return the leaf and the intermediates of an answer; a root among them is left out."""
    try:
        leaf = x509.load_pem_x509_certificate(answer["certificate"].encode())
        above = [x509.load_pem_x509_certificate(pem.encode()) for pem in answer.get("ca_chain") or [answer["issuing_ca"]]]
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise WrongAnswer("the CA's answer is refused: it holds no certificates") from error
    return leaf, tuple(certificate for certificate in above if certificate.issuer != certificate.subject)
