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


def test_a_host_has_those_that_are_chosen_and_what_it_asks_for_the_mesh_with():
    found = plan(load(mesh("90s"), "mesh.yaml").mesh, {"orders", "legation-telemetry", "nobody"}, ("legation-certmgr",))
    assert found == (
        IdentitySpec("orders", "spiffe://shop.local/orders", 90),
        IdentitySpec("legation-telemetry", "spiffe://shop.local/legation/telemetry", 90),
        IdentitySpec("legation-certmgr", "spiffe://shop.local/legation/certmgr", 90),
    )
