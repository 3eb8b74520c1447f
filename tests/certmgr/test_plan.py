"""Which identities a mesh wants."""

from certmgr.core.plan import IdentitySpec, plan
from legation.mesh.load import load
from tests.certmgr.host import mesh


def test_every_service_and_every_part_has_an_identity():
    assert plan(load(mesh("90s"), "mesh.yaml").mesh) == (
        IdentitySpec("orders", "spiffe://shop.local/orders", 90),
        IdentitySpec("web", "spiffe://shop.local/web", 90),
        IdentitySpec("legation-gateway", "spiffe://shop.local/legation/gateway", 90),
        IdentitySpec("legation-xds-server", "spiffe://shop.local/legation/xds-server", 90),
    )
