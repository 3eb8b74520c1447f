"""The Vaults that this host knows: the one of its settings, and those that a roll-over has led or may lead it to.

One of them may be a later embedded OpenBao (`certmgr/generations.py`), which needs no URL and no CA.

vaults/<id>/there.json   the URL of another Vault
vaults/<id>/ca.pem       the CA that its own certificate is checked by
vaults/<id>/given.json   what the operator gave this host to log in with
vaults/<id>/enrol.json   that, once it was unwrapped
vaults/in-use            the id of the one in use; not there: the one of the settings
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from certmgr import generations
from certmgr.core.bundle import Damaged
from certmgr.issue.auth import Method, enter
from certmgr.issue.login import Login, Outcome
from certmgr.issue.vault import Address, Vault
from certmgr.settings import Settings
from certmgr.store import Store, read, write
from legation.runtime.clock import Clock


class Turned(Exception):
    """Says that this host has turned to another Vault."""


class UnknownVault(Exception):
    """A Vault that this host was given nothing to log in with; says what to do."""


class Vaults:
    """Which Vault this host uses, and with what it logs in there."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Read which one is in use."""
        self._settings, self._store = settings, store
        self._folder = store.folder / "vaults"
        content = read(self._folder / "in-use")
        self._in_use = "" if content is None else content.decode()
        self._coming: tuple[int, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is the one of the settings."""
        return not self._in_use

    @property
    def url(self) -> str:
        """The URL of the one in use; empty for that of the settings."""
        return "" if self.is_own else self._url(self._in_use)

    @property
    def shown(self) -> str:
        """What people call the one in use; empty where it is an embedded OpenBao."""
        return "" if self.generation is not None else self.url or self._settings.vault_address

    @property
    def generation(self) -> int | None:
        """The number of the embedded OpenBao in use; None when it is another Vault."""
        if self._settings.vault_address:
            return None
        return 1 if self.is_own else generations.number_of(self.url)

    @property
    def address(self) -> Address:
        """Where the one in use is."""
        return self._settings.vault if self.is_own else self._address(self._in_use)

    def at(self, url: str) -> Vault:
        """Return a Vault by its URL (empty: that of the settings); UnknownVault when it is another one."""
        return Vault(self._settings.vault if not url else self._address(self._known(url)))

    def login(self, url: str, clock: Clock, told: Callable[[Outcome], None]) -> Login | None:
        """Return this host's way in to a Vault, by its URL (empty: that of the settings).

        None where others put the credentials of each identity in place. `told` hears how each login went.
        """
        if url:
            called = _id(url)
            entering = enter(Vault(self._address(called)), self._method(called), self._folder / called / "enrol.json")
            return Login(entering, clock, told)
        method = self._settings.method(self._store)
        return None if method is None else Login(enter(self.at(""), method, self._store.host_file), clock, told)

    def learn(self, url: str, ca: str, role_id: str, wrapped: str) -> None:
        """Take what this host logs in to a Vault with, and do so once. VaultError or Damaged: it does not work."""
        called = _id(url)
        folder = self._folder / called
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(folder / "ca.pem", ca.encode())
        write(folder / "given.json", json.dumps({"role_id": role_id, "wrapped_secret_id": wrapped}).encode())
        write(folder / "there.json", json.dumps({"url": url}).encode())
        enter(Vault(self._address(called)), self._method(called), folder / "enrol.json")()

    def learn_embedded(self, number: int) -> None:
        """Take in a later embedded OpenBao; what this host logs in there with is `way_in`'s, and made by its set-up."""
        url = generations.url(number)
        folder = self._folder / _id(url)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(folder / "there.json", json.dumps({"url": url}).encode())

    def way_in(self, number: int) -> Path:
        """Return where the host's own AppRole in an embedded OpenBao is."""
        return self._store.host_file if number == 1 else self._folder / _id(generations.url(number)) / "enrol.json"

    def turn(self, url: str) -> None:
        """Use another Vault from now on, and forget what signers log in to this one with. Raises Turned."""
        called = self._known(url) if url else ""
        for name in self._store.enrolled():
            self._store.forget_credentials(name)
        if called:
            write(self._folder / "in-use", called.encode())
        else:
            (self._folder / "in-use").unlink(missing_ok=True)
        raise Turned

    def begin_with(self, number: int) -> None:
        """Use an embedded OpenBao that is still to be set up."""
        self.learn_embedded(number)
        self._in_use = _id(generations.url(number))
        write(self._folder / "in-use", self._in_use.encode())
        self.forget_others()

    @contextmanager
    def preparing(self, number: int) -> Iterator[None]:
        """Have an embedded OpenBao run beside the one in use; while the block runs it is not forgotten."""
        self._coming = (number,)
        try:
            generations.want(self._settings.folder, self._numbers())
            yield
        finally:
            self._coming = ()

    def _numbers(self) -> tuple[int, ...]:
        return self._coming if self.generation is None else (self.generation, *self._coming)

    def forget_others(self) -> None:
        """Forget every Vault that is not in use, with what this host logs in there with; of ours the data goes too."""
        stay = {self._in_use, *(_id(generations.url(number)) for number in self._coming)}
        for folder in self._folder.glob("*/"):
            if folder.name not in stay:
                shutil.rmtree(folder, ignore_errors=True)
        if self._settings.vault_address:
            return
        generations.want(self._settings.folder, self._numbers())
        if not self.is_own:
            self._store.host_file.unlink(missing_ok=True)

    def _known(self, url: str) -> str:
        called = _id(url)
        if not (self._folder / called / "enrol.json").exists():
            raise UnknownVault(
                f"this host has nothing to log in to {url} with: legation certs rollover join --vault {url}, on it"
            )
        return called

    def _address(self, called: str) -> Address:
        url, ca = self._url(called), self._folder / called / "ca.pem"
        number = generations.number_of(url)
        if number is not None:
            return generations.address(self._settings.folder, number)
        return Address(url=url, ca=str(ca) if ca.stat().st_size else "")

    def _method(self, called: str) -> Method:
        number = generations.number_of(self._url(called))
        file = self._folder / called / "given.json" if number is None else self.way_in(number)
        return Method("approle", file, "approle")

    def _url(self, called: str) -> str:
        content = read(self._folder / called / "there.json")
        if content is None:
            raise Damaged(
                f"{self._folder / called} does not say which Vault it is of: remove {self._folder / 'in-use'}"
            )
        return str(json.loads(content)["url"])


def _id(url: str) -> str:
    return sha256(url.encode()).hexdigest()[:16]
