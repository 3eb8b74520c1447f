"""Which lists of revoked certificates are to be shown, and where a certificate is revoked, by one Vault or two."""

from collections.abc import Mapping
from typing import Any

import pytest

from certmgr.core.crl import BadCrl
from certmgr.core.trust import pem
from certmgr.issue.login import Login
from certmgr.issue.vault import Address, Rejected, Token, Unreachable, Vault, VaultError
from certmgr.lists import Lists, Place
from tests.certmgr.authority import Authority
from tests.certmgr.test_crl import crl
from tests.certmgr.world import ORDERS, Clock

NOW = 1_800_000_000.0


class FakeVault(Vault):
    """One intermediate, its list, and what is revoked; it makes its list anew when it is asked to, and may be away."""

    def __init__(self, name: str) -> None:
        super().__init__(Address(socket=name))
        self.ca = Authority(NOW, root=f"root {name}", intermediate=f"int {name}")
        self.listed: tuple[int, ...] = ()
        self.revoked: tuple[str, ...] = ()
        self.away: VaultError | None = None
        self.number = 1

    def keys(self, token: Token, path: str) -> tuple[str, ...]:
        self._be_there()
        return self.revoked if path.endswith("certs/revoked") else (self.ca.name, f"root of {self.ca.name}")

    def call(
        self, token: Token, method: str, path: str, body: Mapping[str, Any] | None = None, wrap_ttl: int | None = None
    ) -> Mapping[str, Any]:
        self._be_there()
        if path.endswith("crl/rotate"):
            self.listed, self.number = tuple(int(serial.replace(":", ""), 16) for serial in self.revoked), 2
            return {}
        if path.endswith("/crl"):
            made = crl(*self.listed, number=self.number, key=self.ca.key, issuer=self.ca.name)
            return {"data": {"crl": made.decode()}}
        shown = self.ca.root if "root of" in path else self.ca.intermediate
        return {"data": {"certificate": pem([shown]).decode()}}

    def _be_there(self) -> None:
        if self.away is not None:
            raise self.away


def way(shut: VaultError | None = None) -> Login:
    """A way in: with a token, or shut."""

    def enter() -> Token:
        if shut is not None:
            raise shut
        return Token("t", 60)

    return Login(enter, Clock(NOW))


class Both:
    """Two Vaults; `lists` looks at the new one alone at first, as after a host has turned to it."""

    def __init__(self, *trusted: str) -> None:
        self.old, self.new = FakeVault("old"), FakeVault("new")
        by_name = {"old": self.old.ca.root, "new": self.new.ca.root}
        self.roots = tuple(by_name[name] for name in trusted)
        self.lists = self.made(self.new)

    def made(self, vault: FakeVault) -> Lists:
        return Lists(Place(vault, way()), lambda: self.roots, Clock(NOW))

    def look_too(self) -> Place:
        self.lists.other = Place(self.old, way())
        return self.lists.other

    def shown(self):
        """What was shown before the host has turned: read again from its file, as then certmgr begins anew."""
        before = self.made(self.old)
        before.other = Place(self.new, way())
        return self.lists.recall(before.file(before.look(())), (self.old.ca.intermediate,))


def named(crls) -> list[str]:
    return sorted(one.issuer.rfc4514_string().removeprefix("CN=") for one in crls)


def test_one_vault_has_one_list():
    both = Both("new")
    assert named(both.lists.look(())) == ["int new"]
    assert both.lists.signed_at(both.new.ca.issue(ORDERS).leaf) is both.lists.here
    assert both.lists.is_here(both.new.ca.issue(ORDERS).leaf)


def test_what_was_listed_stays_while_its_root_is_trusted_though_its_vault_is_not_known_yet():
    both = Both("old", "new")
    shown = both.shown()
    assert named(shown) == named(both.lists.look(shown)) == ["int new", "int old"]
    both.look_too()
    assert named(both.lists.look(shown)) == ["int new", "int old"]
    both.old.away = Unreachable("it is gone for good")
    assert named(both.lists.look(shown)) == ["int new", "int old"]
    both.roots = both.roots[1:]
    assert named(both.lists.look(shown)) == ["int new"]


def test_a_bad_list_of_the_other_vault_does_not_hide_what_is_revoked_here():
    """As where it was restored from a backup: its list is older than the one that is shown, which stays."""
    both = Both("old", "new")
    both.old.number = 7
    shown = both.shown()
    both.look_too()
    both.old.number = 3
    both.new.revoked = ("0a:1b",)
    here, kept = both.lists.look(shown)
    assert (here.signer, set(here.serials)) == (both.new.ca.intermediate, {"0a1b"})
    assert (kept.signer, kept.number) == (both.old.ca.intermediate, 7)


def test_lists_are_begun_with_when_there_is_one_of_each_root():
    both = Both("old", "new")
    with pytest.raises(BadCrl, match="no list of an intermediate of CN=root old is here, which is trusted too"):
        both.lists.look(())
    both.look_too()
    assert named(both.lists.look(())) == ["int new", "int old"]


def test_another_ca_of_the_same_name_has_its_own_list():
    """As when a roll-over follows one that was called off: the list of the first is shown still, and is of no use."""
    both = Both("old", "new")
    both.new.number = 7
    shown = both.shown()
    assert named(shown) == ["int new", "int old"]
    again = FakeVault("new")
    both.roots = (both.old.ca.root, again.ca.root)
    lists = both.made(both.old)
    assert [one.signer for one in lists.look(shown)] == [both.old.ca.intermediate]
    lists.other = Place(again, way())
    assert [one.signer for one in lists.look(shown)] == [both.old.ca.intermediate, again.ca.intermediate]


def test_nothing_trusted_is_said():
    with pytest.raises(BadCrl, match="Vault has no intermediate of a root that this host trusts"):
        Both("old").lists.look(())


def test_a_certificate_is_revoked_where_it_was_signed():
    both = Both("old", "new")
    leaf = both.old.ca.issue(ORDERS).leaf
    assert not both.lists.is_here(leaf)
    with pytest.raises(Unreachable, match="the Vault that signs below CN=root old, which this host trusts, is not"):
        both.lists.signed_at(leaf)
    other = both.look_too()
    assert both.lists.signed_at(leaf) is other
    both.old.away = Unreachable("not now")
    with pytest.raises(Unreachable, match="not now"):
        both.lists.signed_at(leaf)


@pytest.mark.parametrize("other", [False, True])
def test_what_nobody_trusts_need_not_be_revoked(other):
    both = Both("new")
    if other:
        both.look_too()
    assert both.lists.signed_at(both.old.ca.issue(ORDERS).leaf) is None
    stranger = Authority(NOW, root="root new", intermediate="int new").issue(ORDERS).leaf
    assert both.lists.signed_at(stranger) is None, "names are not enough"


@pytest.mark.parametrize("vault", ["old", "new"])
def test_a_list_that_lacks_what_its_vault_says_is_made_anew(vault):
    both = Both("old", "new")
    both.look_too()
    where = both.old if vault == "old" else both.new
    where.revoked = ("0a:1b",)
    (found,) = (one for one in both.lists.look(()) if one.issuer == where.ca.intermediate.subject)
    assert (set(found.serials), found.number) == ({"0a1b"}, 2)
    where.number = 3
    assert {one.number for one in both.lists.look(())} == {1, 3}, "once is enough"


def test_who_may_not_ask_what_is_revoked_has_the_lists_all_the_same():
    both = Both("new")
    both.new.revoked = ("0a",)
    for place in (Place(both.new, None), Place(both.new, way(Rejected("no")))):
        lists = Lists(place, lambda: both.roots, Clock(NOW))
        assert [one.serials for one in lists.look(())] == [frozenset()]
