"""A way in to Vault: log in when needed, keep the token while it is young, log in anew when it is refused."""

import threading
from collections.abc import Callable
from typing import TypeVar

from certmgr.issue.vault import Denied, Rejected, Token
from legation.runtime.clock import Clock

T = TypeVar("T")


class LoginRefused(Rejected):
    """The credentials are not (or no longer) good: new ones are needed."""


class Login:
    """Gives calls a token.

    Tokens are short-lived batch tokens: nothing to renew (a renewal near its end succeeds with a
    shrinking lease and then fails), nothing for Vault to store, a login is one cheap call. The
    credentials are read again for every login, so a replaced file takes effect (vault#18562).
    """

    def __init__(self, enter: Callable[[], Token], clock: Clock) -> None:
        """Prepare; `enter` logs in, and reads its credentials anew each time. Nothing is asked yet."""
        self._enter, self._clock = enter, clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._good_until = 0.0

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
                self._token = self._enter()
            except Rejected as error:
                raise LoginRefused(str(error)) from None
            self._good_until = now + self._token.lease / 2
            return self._token, True

    def _drop(self, token: Token) -> None:
        """Forget a token that was refused."""
        with self._lock:
            if self._token is token:
                self._token = None
