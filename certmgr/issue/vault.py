"""The only file that touches hvac: one Vault or OpenBao, its calls, and what can go wrong with them.

VaultError                what kept a call from working; no text of it holds a token or a key
├── Unreachable           no answer: nothing listens, the connection broke, time ran out
├── Sealed                up, but sealed, starting, without a leader, or not initialised (500, 501, 503)
├── Throttled             too many requests (429)
├── Denied                the token is dead, or its policy does not allow this (403)
├── Rejected              the request itself is refused (400); trying again changes nothing
├── Missing               nothing is at that path (404)
└── Broken                any other answer: a redirect, a 5xx (not always transient), no JSON

hvac's traps, each handled here: it follows redirects and hands the token to the other host (our session
does not: certmgr/issue/session.py); it reads a token from the environment and the home folder unless it
gets an empty one; it lets `..` and `/` in names through into the URL; it blocks, and its session is not to
be shared by threads.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import hvac
import hvac.exceptions
import requests

from certmgr.issue.session import Session
from legation.mesh.names import NAME_PATTERN

VaultState = Literal["ok", "sealed", "unreachable", "starting"]

_SAID = 300
"""Characters of an error's text that are kept."""

_NO_LEADER = "local node not active"
"""What a server says with a 500 between two leaders, or just before it is one itself."""

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_NAME = re.compile(NAME_PATTERN)


class VaultError(Exception):
    """What kept a call from working."""


class Unreachable(VaultError):
    """No answer."""


class Sealed(VaultError):
    """Up, but sealed, starting, or not initialised."""


class Throttled(VaultError):
    """Too many requests."""


class Denied(VaultError):
    """The token is dead, or its policy does not allow this."""


class Rejected(VaultError):
    """The request itself is refused."""


class Missing(VaultError):
    """Nothing is at that path."""


class Broken(VaultError):
    """Any other answer."""


AWAY = (Unreachable, Sealed, Throttled)
"""What passes by itself: worth another try, where every other refusal stays one."""

_BY_STATUS: Mapping[int, type[VaultError]] = {
    307: Sealed,  # a standby, which knows who the leader is and does not ask it for us
    400: Rejected,
    401: Denied,
    403: Denied,
    404: Missing,
    429: Throttled,
    501: Sealed,
    503: Sealed,
}
_BY_KIND: Mapping[type[hvac.exceptions.VaultError], type[VaultError]] = {
    hvac.exceptions.InvalidRequest: Rejected,
    hvac.exceptions.Unauthorized: Denied,
    hvac.exceptions.Forbidden: Denied,
    hvac.exceptions.InvalidPath: Missing,
    hvac.exceptions.RateLimitExceeded: Throttled,
    hvac.exceptions.VaultNotInitialized: Sealed,
    hvac.exceptions.VaultDown: Sealed,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where Vault is: a URL, or a unix socket's path. `ca` is the file that its certificate is checked against.

    `shown` is a file with a client certificate and its key, for the one login that shows it.
    """

    url: str = ""
    socket: str = ""
    ca: str = ""
    shown: str = ""

    def showing(self, file: Path) -> "Address":
        """Return the same place, to which a certificate is shown."""
        return replace(self, shown=str(file))

    def __str__(self) -> str:
        """Return what people call it."""
        return self.url or self.socket


@dataclass(frozen=True, slots=True)
class AppRole:
    """What a machine logs in with; `mount` is where the AppRole is, below `auth/`."""

    role_id: str
    secret_id: str = field(repr=False)
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the seconds that it lives."""

    value: str = field(repr=False)
    lease: float


class Vault:
    """One Vault. Every call blocks; any thread may make it, as each has a client of its own."""

    def __init__(self, address: Address) -> None:
        """Name the server; nothing is opened yet."""
        self.address = address
        self._local = threading.local()

    def health(self) -> VaultState:
        """Return whether it can serve now; never raises (sys/health answers 200, 429, 473, 501 or 503)."""
        try:
            answer = self._client("").sys.read_health_status(method="GET")
        except (requests.RequestException, hvac.exceptions.VaultError):
            return "unreachable"
        status = answer.status_code if isinstance(answer, requests.Response) else 200
        return "ok" if status in {200, 429, 473} else "sealed"

    def version(self) -> str:
        """Return the server's version, which it tells anybody; Unreachable when nobody is there."""
        client = self._client("")
        try:
            answer = client.sys.read_health_status(method="GET")
        except requests.RequestException as error:
            raise Unreachable(f"{self.address} does not answer ({type(error).__name__}{_why(error)})") from None
        found = answer.json() if isinstance(answer, requests.Response) else answer
        return str(pick(found, "version"))

    def login(self, credentials: AppRole) -> Token:
        """Return a token for an AppRole; Rejected when its secret id is not (or no longer) good."""
        client = self._client("")
        answer = self._ask(
            lambda: client.auth.approle.login(
                credentials.role_id, credentials.secret_id, use_token=False, mount_point=credentials.mount
            )
        )
        return Token(pick(answer, "auth", "client_token"), float(pick(answer, "auth", "lease_duration")))

    def unwrap(self, wrapping_token: str) -> Mapping[str, Any]:
        """Return what was wrapped; Rejected when someone has unwrapped it before."""
        client = self._client(wrapping_token)
        answer = self._ask(client.sys.unwrap)
        return dict(pick(answer, "data"))

    def sign(self, token: Token, mount: str, role: str, *, request: str, uri: str, ttl: int) -> Mapping[str, Any]:
        """Have a request signed by a role, and return the whole answer; `ttl` is in seconds."""
        client = self._client(token.value)
        wish = {"uri_sans": uri, "ttl": f"{ttl}s", "format": "pem", "remove_roots_from_chain": True}
        return self._ask(
            lambda: client.secrets.pki.sign_certificate(
                checked_name(role), request, "", extra_params=dict(wish), mount_point=mount
            )
        )

    def read(self, token: Token, path: str) -> Mapping[str, Any] | None:
        """Return the data at a path; None when nothing is there."""
        try:
            return dict(self.call(token, "get", path).get("data") or {})
        except Missing:
            return None

    def keys(self, token: Token, path: str) -> tuple[str, ...]:
        """Return the names below a path, sorted; none when nothing is there."""
        try:
            return tuple(sorted(pick(self.call(token, "list", path), "data", "keys")))
        except Missing:
            return ()

    def call(
        self, token: Token, method: str, path: str, body: Mapping[str, Any] | None = None, wrap_ttl: int | None = None
    ) -> Mapping[str, Any]:
        """Make any other call and return its whole answer; empty where there is no content."""
        adapter = self._client(token.value).adapter
        options: dict[str, Any] = {} if body is None else {"json": dict(body)}
        if method == "patch":
            options["headers"] = {"Content-Type": "application/merge-patch+json"}
        if wrap_ttl is not None:
            options["wrap_ttl"] = wrap_ttl
        return self._ask(lambda: adapter.request(method, f"/v1/{checked_path(path)}", **options), f"{method} {path}: ")

    def _client(self, token: str) -> hvac.Client:
        """Return this thread's client, with a token."""
        client: hvac.Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = _connect(self.address)
        client.token = token
        return client

    def _ask(self, work: Any, what: str = "") -> Mapping[str, Any]:
        """Do a call and say in our own words what went wrong; `what` is said when it may not be done."""
        try:
            answer = work()
        except OSError as error:  # a RequestException is one, and so is a certificate's file that is not there
            # the cause is cut off: its text and its request object hold what was sent
            raise Unreachable(f"{self.address} does not answer ({type(error).__name__}{_why(error)})") from None
        except hvac.exceptions.VaultError as error:
            kind = Sealed if _NO_LEADER in _said(error) else _BY_KIND.get(type(error), Broken)
            raise kind(f"{self.address}: {what if kind is Denied else ''}{_said(error)}") from None
        if isinstance(answer, requests.Response):
            if answer.status_code == 204:
                return {}
            raise _BY_STATUS.get(answer.status_code, Broken)(f"{self.address} answered {answer.status_code}")
        if not isinstance(answer, dict):
            raise Broken(f"{self.address} answered with no JSON object")
        return answer


def _why(error: OSError) -> str:
    """Return what a person can mend: a certificate that is not trusted, a name that is not known."""
    if isinstance(error, requests.exceptions.SSLError):
        return ": its certificate is not trusted; name its CA with --vault-ca FILE"
    return ""


def pick(answer: Mapping[str, Any], *keys: str) -> Any:
    """Return what is below some keys of an answer; Broken when it is not there."""
    found: Any = answer
    for key in keys:
        if not isinstance(found, Mapping) or found.get(key) is None:
            raise Broken(f"the answer has no {'.'.join(keys)}")
        found = found[key]
    return found


def checked_name(name: str) -> str:
    """Return a role's name; ValueError when it could reach another path (hvac lets `../sign-verbatim` through)."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no role's name: lower-case letters, digits and dashes only")
    return name


def checked_path(path: str) -> str:
    """Return an API path; ValueError when a segment of it could be read as anything but a plain name."""
    if not all(_SEGMENT.fullmatch(part) for part in path.split("/")):
        raise ValueError(f"{path!r} is no path of the API")
    return path


def _connect(address: Address) -> hvac.Client:
    """Return a client that reads nothing from the environment and follows nobody."""
    url = "http://localhost" if address.socket else address.url
    session = Session(url, path=address.socket, ca=address.ca, shown=address.shown)
    return hvac.Client(url=url, token="", session=session, allow_redirects=False)


def _said(error: hvac.exceptions.VaultError) -> str:
    """Return what Vault said, on one line, cut."""
    said = error.errors or [str(error.args[0]) if error.args and error.args[0] else type(error).__name__]
    return " ".join(" ".join(map(str, said)).split())[:_SAID]
