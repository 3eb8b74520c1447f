"""Which lists of revoked certificates may be shown: each that would black out a mesh is refused."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.crl import BadCrl, checked, normal
from tests.certmgr.authority import Authority, called, new_key, when
from tests.certmgr.world import ORDERS

NOW = 1_800_000_000.0
CA = Authority(NOW)


def crl(
    *serials: int, number: int | None = 5, ends: float = NOW + 3600, key=None, issuer: str = "int", der: bool = False
):
    builder = x509.CertificateRevocationListBuilder(called(issuer), when(NOW - 60), when(ends))
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder(serial, when(NOW) - timedelta(seconds=5)).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(key or CA.key, hashes.SHA256()).public_bytes(Encoding.DER if der else Encoding.PEM)


def check(content, **more):
    return checked(content, CA.intermediate, NOW, after=more.get("after"), holds=more.get("holds", ()))


def test_good_list_is_taken_in_both_forms():
    for der in (False, True):
        found = check(crl(0x0A1B, 0x7F, der=der), holds=["0a1b"])
        assert {"0a1b", "7f"} == found.serials
        assert (5, NOW + 3600) == (found.number, found.ends)
        assert found.pem.startswith(b"-----BEGIN X509 CRL")
        assert found.covers(CA.issue(ORDERS))


def test_list_without_a_number_counts_as_the_first():
    assert check(crl(number=None)).number == 0


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (b"<html>", {}, "it is no list"),
        (b"", {}, "it is no list"),
        (crl()[:200], {}, "it is no list"),
        (crl(ends=NOW - 1), {}, "it has ended"),
        (crl(ends=NOW + 59), {}, "it has ended"),
        (crl(key=new_key()), {}, "not signed by the intermediate"),
        (crl(issuer="other"), {}, "not signed by the intermediate"),
        (crl(number=4), {"after": check(crl())}, "its number is 4, and 5 was seen before"),
        (crl(0x0A), {"holds": ["0a", "0b"]}, "it lacks what was revoked: 0b"),
    ],
    ids=["html", "nothing", "cut", "ended", "ends", "forged", "another's", "played back", "incomplete"],
)
def test_attack_26_list_that_would_black_out_the_mesh_is_never_shown(content, more, said):
    with pytest.raises(BadCrl, match=said):
        check(content, **more)


def test_attack_27_list_of_another_intermediate_does_not_cover_a_leaf():
    other = Authority(NOW)
    leaf = other.issue(ORDERS)
    same_name = check(crl())
    assert same_name.covers(leaf), "names alone: the signature is the chain's to check"
    from dataclasses import replace

    assert not replace(same_name, signer=Authority(NOW, intermediate="int-2").intermediate).covers(leaf)


@pytest.mark.parametrize(
    ("said", "serial"),
    [("0A:1b", "0a1b"), ("a1b", "0a1b"), ("0a-1B", "0a1b"), ("00:0a", "0a"), ("", None), ("xyz", None), (":", None)],
)
def test_serials_are_read_as_people_and_vault_write_them(said, serial):
    assert serial == normal(said)
