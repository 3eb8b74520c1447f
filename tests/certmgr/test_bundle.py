"""A bundle on disk is what was written, or it is damaged."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certmgr.core.bundle import Damaged, parse, render
from certmgr.core.plan import IdentitySpec
from tests.certmgr.authority import Authority

NOW = 1_800_000_000.0
BUNDLE = Authority(NOW).issue(IdentitySpec("orders", "spiffe://shop.local/orders", 3600))
WRITTEN = render(BUNDLE)


def test_what_was_written_is_read():
    found = parse(WRITTEN)
    assert (found.leaf, found.chain, found.root) == (BUNDLE.leaf, BUNDLE.chain, BUNDLE.root)
    assert found.key.private_numbers() == BUNDLE.key.private_numbers()
    assert found.life == (NOW - 60, NOW + 3600)


def test_a_serial_is_written_as_envoy_does():
    """Lower-case hex of whole bytes."""
    assert int(BUNDLE.serial, 16) == BUNDLE.leaf.serial_number
    assert len(BUNDLE.serial) % 2 == 0
    assert BUNDLE.serial == BUNDLE.serial.lower()


def other_key() -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + BUNDLE.chain_pem() + BUNDLE.root_pem()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not a key followed by at least two certificates"),
        (WRITTEN[:-40], "it is not as it was written"),
        (BUNDLE.key_pem() + BUNDLE.root_pem(), "it is not a key followed by at least two certificates"),
        (WRITTEN + b"\n", "it is not as it was written"),
        (other_key(), "its key is neither an elliptic curve's nor RSA's"),
    ],
)
def test_anything_else_is_damaged_and_not_quoted(content, said):
    with pytest.raises(Damaged) as damaged:
        parse(content)
    assert str(damaged.value) == said
