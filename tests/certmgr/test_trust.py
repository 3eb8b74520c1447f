"""Whom peers are checked against: roots and lists, together or not at all."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.crl import BadCrl, checked, pairs
from certmgr.core.plan import IdentitySpec
from certmgr.core.trust import Trust, anchor, fingerprint, pem
from tests.certmgr.authority import Authority
from tests.certmgr.test_crl import CA, NOW, crl

ONE, OTHER = Authority(NOW), Authority(NOW, root="other")
BUNDLE = ONE.issue(IdentitySpec("orders", "spiffe://shop.local/orders", 60))


def test_without_a_root_its_own_is_shown_and_without_a_list_all_are_covered():
    assert Trust().roots_pem(BUNDLE) == pem([ONE.root])
    assert Trust((OTHER.root, ONE.root)).roots_pem(BUNDLE) == pem([OTHER.root, ONE.root])
    assert Trust().covers(BUNDLE)
    assert Trust().crls_pem() == b""


def test_a_leaf_is_covered_by_the_list_of_its_own_intermediate():
    found = checked(crl(), CA.intermediate, NOW, after=None, holds=())
    assert Trust((), (found,)).covers(BUNDLE), "lists are found by the name of their CA"
    assert Trust((), (found,)).crls_pem() == found.pem
    assert not Trust((), (replace(found, signer=ONE.root),)).covers(BUNDLE)


def test_a_fingerprint_tells_one_from_another():
    assert fingerprint(ONE.root) != fingerprint(OTHER.root)
    assert len(fingerprint(ONE.root)) == 64


def test_an_anchor_is_who_signed():
    assert anchor(ONE.intermediate, [OTHER.root, ONE.root]) == ONE.root
    assert anchor(ONE.intermediate, [OTHER.root]) is None
    assert anchor(ONE.intermediate, []) is None


def test_lists_on_disk_come_with_who_signed_them():
    list_of_one = b"-----BEGIN X509 CRL-----\nx\n-----END X509 CRL-----\n"
    mine = ONE.intermediate.public_bytes(Encoding.PEM)
    theirs = OTHER.intermediate.public_bytes(Encoding.PEM)
    both = mine + list_of_one + theirs + list_of_one
    assert [issuer for issuer, _ in pairs(both, [])] == [ONE.intermediate, OTHER.intermediate]
    assert list(pairs(list_of_one, [ONE.intermediate])) == [(ONE.intermediate, list_of_one)]
    assert list(pairs(list_of_one, [ONE.intermediate, OTHER.intermediate])) == [], "whose it is cannot be told"
    with pytest.raises(BadCrl):
        list(pairs(b"-----BEGIN CERTIFICATE-----\nx\n", []))
