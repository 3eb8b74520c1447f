"""What comes back from a CA is refused when anything about it is not as asked."""

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from certmgr.core.plan import IdentitySpec
from certmgr.core.verify import faults, intermediate_faults, misuse
from tests.certmgr.authority import CLIENT, SERVER, YEAR, Authority, sign, usage

NOW = 1_800_000_000.0
ORDERS = IdentitySpec("orders", "spiffe://shop.local/orders", 3600)
URI = x509.UniformResourceIdentifier(ORDERS.spiffe_id)
CA = Authority(NOW)
OTHER = Authority(NOW)
YOUNG = sign(CA.key, "int", "root", CA.root_key, (NOW - 60, NOW + 60), ((x509.BasicConstraints(True, 0), True),))
PLAIN = sign(CA.key, "int", "root", CA.root_key, (NOW - 60, NOW + YEAR), ((x509.BasicConstraints(False, None), True),))

WRONG = {
    "another key": ({"other_key": True}, "the certificate is for another key"),
    "another service": (
        {"names": [x509.UniformResourceIdentifier("spiffe://shop.local/web")]},
        "its names are [spiffe://shop.local/web], and should be [spiffe://shop.local/orders] alone",
    ),
    "two names": (
        {"names": [URI, x509.UniformResourceIdentifier("spiffe://shop.local/web")]},
        "its names are [spiffe://shop.local/orders, spiffe://shop.local/web]",
    ),
    "a host name beside it": ({"names": [URI, x509.DNSName("orders")]}, "its names are [spiffe://shop.local/orders"),
    "no name": ({"names": []}, "it has no subject alternative name"),
    "a CA": ({"ca": True}, "it is a CA's certificate"),
    "may sign certificates": ({"usage": usage(sign=True)}, "its key usage is not digital signature alone"),
    "servers only": ({"purposes": [SERVER]}, "its extended key usage is not client and server authentication"),
    "clients only": ({"purposes": [CLIENT]}, "its extended key usage is not client and server authentication"),
    "from the future": (
        {"life": (NOW + 5, NOW + 3600)},
        "it is valid in 5 s only: this host's clock is behind the CA's",
    ),
    "expired": ({"life": (NOW - 3600, NOW - 1)}, "it expired 1 s ago"),
    "too long a life": ({"life": (NOW - 60, NOW + 7200)}, "it lives 7260 s, and should live 3660 s at most"),
    "another signer": ({"signer": OTHER.key}, "the leaf is not signed by CN=int"),
    "another root": (
        {"chain": (OTHER.intermediate,), "root": OTHER.root},
        "it is from another root than the pinned one",
    ),
    "no intermediate": ({"chain": ()}, "it comes without its intermediate"),
    "outlives its issuer": ({"chain": (YOUNG,)}, "the leaf outlives CN=int"),
    "an issuer that is none": ({"chain": (PLAIN,)}, "CN=int is not a CA"),
}


def test_extensions_that_cannot_be_read_are_faults():
    """`UnrecognizedExtension` lets a test write any bytes under an extension's number."""
    broken = x509.UnrecognizedExtension(ExtensionOID.KEY_USAGE, b"no DER")
    said = set(faults(CA.issue(ORDERS, usage=broken), ORDERS, CA.root, NOW))
    assert {"its extensions cannot be read", "its key usage is not digital signature alone"} <= said


def test_what_was_asked_for_is_taken():
    assert faults(CA.issue(ORDERS), ORDERS, CA.root, NOW) == ()


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)
def test_attack_18_wrong_answer_is_refused(wrong, said):
    assert any(fault.startswith(said) for fault in faults(CA.issue(ORDERS, **wrong), ORDERS, CA.root, NOW))


def test_longer_life_than_wanted_today_may_be_served():
    """The mesh's ttl was cut: the old certificate goes on until the next is there."""
    long = CA.issue(ORDERS, life=(NOW - 60, NOW + 7200))
    assert misuse(long, ORDERS, CA.root, NOW) == ()


def test_intermediate_is_bound_to_the_domain():
    assert intermediate_faults(CA.intermediate, CA.root, "shop.local", NOW) == ()


@pytest.mark.parametrize(
    ("authority", "root", "now", "said"),
    [
        (Authority(NOW, constrained=False), None, NOW, "not bound to the trust domain shop.local"),
        (Authority(NOW, critical=False), None, NOW, "not bound to the trust domain shop.local"),
        (Authority(NOW, "local"), None, NOW, "not bound to the trust domain shop.local"),
        (Authority(NOW, path_length=1), None, NOW, "not a CA for leaves only"),
        (CA, OTHER.root, NOW, "not signed by the root"),
        (CA, None, NOW + 11 * YEAR, "not valid now"),
    ],
)
def test_wrong_intermediate_is_refused(authority, root, now, said):
    found = intermediate_faults(authority.intermediate, root or authority.root, "shop.local", now)
    assert [said] == [said for fault in found if said in fault]
