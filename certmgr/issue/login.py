"""A way in to Vault: log in when needed, keep the token while it is young, log in anew when it is refused."""

import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from certmgr.issue.vault import Denied, Rejected, Token, VaultError
from legation.runtime.clock import Clock

T = TypeVar("T")

Outcome = Literal["ok", "refused", "failed"]

_RETRY = 10.0
"""Seconds until a login is tried again while the token from before is still good."""


class LoginRefused(Rejected):
    """The credentials are not (or no longer) good: new ones are needed."""


class Login:
    """Gives calls a token.

    A new one is got at half of the old one's life, so that there is no gap: a renewal near the end
    succeeds with a shrinking lease and then fails. When that does not work, the old one serves on
    to its end. The credentials are read again for every login, so a replaced file takes effect
    (vault#18562).
    """

    def __init__(
        self, enter: Callable[[], Token], clock: Clock, told: Callable[[Outcome], None] = lambda _: None
    ) -> None:
        """Prepare; `enter` logs in, and reads its credentials anew each time. `told` hears how each login went."""
        self._enter, self._clock, self._told = enter, clock, told
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._good_until = self._ends = 0.0

    def call(self, work: Callable[[Token], T]) -> T:
        """Do something with a token; once more with a fresh one when it is denied. Blocks, from any thread."""
        token, fresh = self._obtain()
        try:
            return work(token)
        except Denied:
            self._drop(token)
            if fresh:
                raise
        return work(self._obtain()[0])

    def _obtain(self) -> tuple[Token, bool]:
        """Return a token in the first half of its life, and whether it is new."""
        with self._lock:
            now = self._clock.now()
            if self._token is not None and now < self._good_until:
                return self._token, False
            try:
                token = self._login()
            except VaultError:
                if self._token is None or now >= self._ends:
                    raise
                self._good_until = min(self._ends, now + _RETRY)
                return self._token, False
            self._token = token
            self._good_until, self._ends = now + token.lease / 2, now + token.lease
            return token, True

    def _login(self) -> Token:
        try:
            token = self._enter()
        except LoginRefused:
            self._told("refused")
            raise
        except Rejected as error:
            self._told("refused")
            raise LoginRefused(str(error)) from None
        except Exception:
            self._told("failed")
            raise
        self._told("ok")
        return token

    def _drop(self, token: Token) -> None:
        """Forget a token that was refused."""
        with self._lock:
            if self._token is token:
                self._token = None
