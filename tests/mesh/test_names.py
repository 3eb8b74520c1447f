"""Names that are read back: of a SPIFFE ID, whom it names."""

import pytest

from legation.mesh import names


@pytest.mark.parametrize(
    ("spiffe_id", "expected"),
    [
        ("spiffe://shop.local/web", "web"),
        ("spiffe://shop.local/legation/gateway", names.GATEWAY),
        ("spiffe://shop.local/legation-gateway", None),
        ("spiffe://other.local/web", None),
        ("spiffe://shop.local/web/more", None),
        ("spiffe://shop.local.other/web", None),
        ("web", None),
    ],
)
def test_a_spiffe_id_names_one_of_its_trust_domain(spiffe_id, expected):
    assert names.named("shop.local", spiffe_id) == expected


def test_a_trust_domain_is_the_first_part_of_an_id():
    assert names.trust_domain("spiffe://shop.local/legation/gateway") == "shop.local"
