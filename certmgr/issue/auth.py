"""How the host logs in to Vault: five ways, each of which reads its credentials anew at each login.

approle      a JSON file with `role_id` and `secret_id`, or `wrapped_secret_id`, which is unwrapped once
token        a file with a token; it is renewed where that can be done
jwt          a file with a JWT, such as a workload identity of a cloud or of a CI
kubernetes   the token of the pod's service account
cert         a PEM file with a client certificate and its key
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from certmgr.core.bundle import Damaged
from certmgr.core.layout import ENROL
from certmgr.issue.login import LoginRefused
from certmgr.issue.vault import AppRole, Denied, Rejected, Token, Vault, pick
from certmgr.store import read, write

Kind = Literal["approle", "token", "jwt", "kubernetes", "cert"]
KINDS: tuple[Kind, ...] = get_args(Kind)

POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_NOBODY = Token("", 0)
_FOR_EVER = 3600.0
"""Seconds after which a token without an end is looked at again."""


class Intercepted(LoginRefused):
    """A wrapped SecretID that somebody has unwrapped before us, or that is not from where it should be."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way in: its kind, the mount below `auth/`, the role there, and the file with what to show."""

    kind: Kind
    file: Path
    mount: str
    role: str = ENROL

    @classmethod
    def of(cls, kind: str, file: str, mount: str, role: str) -> "Method":
        """Return the way in that settings name; ValueError says what would be accepted."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no way to log in: {', '.join(KINDS)} are")
        chosen = next(known for known in KINDS if known == kind)
        if not file and chosen != "kubernetes":
            raise ValueError(f"--vault-auth {chosen} needs --vault-credentials FILE")
        return cls(chosen, Path(file or POD_TOKEN), mount or chosen, role or ENROL)


def enter(vault: Vault, method: Method, kept: Path) -> Callable[[], Token]:
    """Return what logs in; `kept` is where an unwrapped secret id stays."""
    ways: Mapping[Kind, Callable[[], Token]] = {
        "approle": lambda: vault.login(_approle(vault, method, kept)),
        "token": lambda: _token(vault, _content(method.file)),
        "jwt": lambda: _jwt(vault, method),
        "kubernetes": lambda: _jwt(vault, method),
        "cert": lambda: _certificate(vault, method),
    }
    return ways[method.kind]


def _approle(vault: Vault, method: Method, kept: Path) -> AppRole:
    """Return the AppRole of a file; a wrapped secret id is unwrapped the first time that it is seen."""
    given = _json(method.file)
    role_id, secret, wrapped = (given.get(key) for key in ("role_id", "secret_id", "wrapped_secret_id"))
    if not isinstance(role_id, str) or not isinstance(secret or wrapped, str):
        raise Damaged(f"{method.file} holds no role_id with a secret_id or a wrapped_secret_id, as JSON")
    if wrapped is None:
        return AppRole(role_id, str(secret), method.mount)
    seen = sha256(str(wrapped).encode()).hexdigest()
    if kept.exists() and kept != method.file:
        known = _json(kept)
        if known.get("unwrapped_from") == seen:
            return AppRole(role_id, str(known.get("secret_id")), method.mount)
    secret = _unwrap(vault, str(wrapped), method)
    write(kept, json.dumps({"role_id": role_id, "secret_id": secret, "unwrapped_from": seen}).encode())
    return AppRole(role_id, secret, method.mount)


def _unwrap(vault: Vault, wrapped: str, method: Method) -> str:
    """Return a wrapped secret id; Intercepted when somebody came first, or when it was made elsewhere.

    Where it was made is looked at before, so that nobody slips in a secret id of his own.
    """
    role = f"auth/{method.mount}/role/{method.role}"
    try:
        made = vault.call(_NOBODY, "post", "sys/wrapping/lookup", {"token": wrapped})
        path = str(pick(made, "data", "creation_path"))
        if path == f"{role}/secret-id":
            return str(pick(vault.unwrap(wrapped), "secret_id"))
        why = f"it was made at {path}, and not as a secret id of this host"
    except (Rejected, Denied):
        why = (
            "it was unwrapped before, or its time ran out. If it was in time, somebody has it: destroy the secret ids "
            f"of {role}, and write another with legation certs init --host FILE"
        )
    raise Intercepted(f"the wrapped SecretID in {method.file} cannot be used: {why}")


def _token(vault: Vault, value: str) -> Token:
    """Return a token of a file, renewed where it can be: one with an end is not left to run out."""
    token = Token(value, 0)
    try:
        known = pick(vault.call(token, "get", "auth/token/lookup-self"), "data")
        left = float(known.get("ttl") or 0)
        if known.get("renewable"):
            answer = vault.call(token, "post", "auth/token/renew-self", {})
            left = float(pick(answer, "auth", "lease_duration"))
    except Denied as error:
        raise LoginRefused(f"{error}: the token in the file is not (or no longer) good") from None
    return Token(value, left or _FOR_EVER)


def _jwt(vault: Vault, method: Method) -> Token:
    shown = {"role": method.role, "jwt": _content(method.file)}
    return _logged_in(lambda: vault.call(_NOBODY, "post", f"auth/{method.mount}/login", shown))


def _certificate(vault: Vault, method: Method) -> Token:
    """Log in with a connection of its own, as the certificate is the connection's (vault#18562)."""
    if read(method.file) is None:  # and Damaged when it is not for this user alone
        raise _absent(method.file)
    shown = Vault(vault.address.showing(method.file))
    return _logged_in(lambda: shown.call(_NOBODY, "post", f"auth/{method.mount}/login", {"name": method.role}))


def _logged_in(ask: Callable[[], Mapping[str, Any]]) -> Token:
    try:
        answer = ask()
    except (Denied, Rejected) as error:  # some methods say 403 where others say 400
        raise LoginRefused(str(error)) from None
    return Token(str(pick(answer, "auth", "client_token")), float(pick(answer, "auth", "lease_duration")))


def _content(path: Path) -> str:
    """Return the text of a credential's file; a kubelet or an agent may own it, so anybody may."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Damaged(f"{path} cannot be read: {reason}; it holds what this host logs in to Vault with") from None


def _json(path: Path) -> Mapping[str, Any]:
    """Return a JSON object in a secret file; Damaged, without quoting it, when it is none."""
    content = read(path)
    if content is None:
        raise _absent(path)
    try:
        known = json.loads(content)
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise Damaged(f"{path} holds no JSON object")
    return known


def _absent(path: Path) -> Damaged:
    return Damaged(f"{path} is not there: it holds what this host logs in to Vault with")
