"""Vault's calls about revocation: the list, who signs it, what is revoked."""

from cryptography import x509

from certmgr.core.layout import INT_MOUNT
from certmgr.issue.vault import Token, Vault, pick

_NOBODY = Token("", 0)


def fetch(vault: Vault, issuer: str) -> bytes:
    """Return the list of an issuer (its id or name); nobody needs a token for it."""
    return str(pick(vault.call(_NOBODY, "get", f"{INT_MOUNT}/issuer/{issuer}/crl"), "data", "crl")).encode()


def issuers(vault: Vault) -> tuple[str, ...]:
    """Return the ids of the mount's issuers, the roots among them."""
    return vault.keys(_NOBODY, f"{INT_MOUNT}/issuers")


def certificate_of(vault: Vault, issuer: str) -> x509.Certificate:
    """Return the certificate of an issuer."""
    found = pick(vault.call(_NOBODY, "get", f"{INT_MOUNT}/issuer/{issuer}/json"), "data", "certificate")
    return x509.load_pem_x509_certificate(str(found).encode())


def revoke(vault: Vault, token: Token, certificate: str) -> str:
    """Revoke a certificate by its PEM, as Vault does not keep it; return the id of the request in Vault's audit log."""
    answer = vault.call(token, "post", f"{INT_MOUNT}/revoke", {"certificate": certificate})
    return str(answer.get("request_id") or "")


def rotate(vault: Vault, token: Token) -> None:
    """Have the list made anew."""
    vault.call(token, "get", f"{INT_MOUNT}/crl/rotate")


def revoked_in_vault(vault: Vault, token: Token) -> tuple[str, ...]:
    """Return the serials that are revoked, in Vault's spelling, whoever did it."""
    return vault.keys(token, f"{INT_MOUNT}/certs/revoked")
