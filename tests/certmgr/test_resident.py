"""What a thief gets with the one credential that is on a host all the time: tried on a real OpenBao.

Both escapes of the earlier layout are here, word for word, and the ways around the locks that hold now.
"""

from functools import reduce

import pytest

from certmgr.core import edge
from certmgr.core.layout import ENROL, INT_MOUNT, KINDS, ROOT_MOUNT
from certmgr.core.policies import INIT_POLICY, POLICIES
from certmgr.issue import csr
from certmgr.issue.vault import Denied, Rejected, VaultError
from tests.certmgr.conftest import ORDERS

GOOD = {
    "token_policies": "mesh-sign-service",
    "token_ttl": "600",
    "token_type": "batch",
    "token_no_default_policy": True,
}
EVERYTHING = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'


@pytest.mark.parametrize("name", ["mesh-sign-zz", ENROL, "mesh-sign-service", "legation-init", "default", "zz"])
def test_escape_by_a_policy_of_its_own(ca, name):
    """It once wrote `path "*"` into a policy, made an AppRole for it, and was administrator."""
    for method, path in (("post", "sys/policies/acl"), ("post", "sys/policy"), ("patch", "sys/policies/acl")):
        with pytest.raises(VaultError):
            ca.vault.call(ca.resident(), method, f"{path}/{name}", {"policy": EVERYTHING})
    with pytest.raises(Denied):
        ca.vault.call(ca.resident(), "delete", f"sys/policies/acl/{name}")


def test_escape_by_an_intermediate_of_its_own(ca):
    """It once had an unconstrained intermediate of five years signed, and then needed no Vault for any name."""
    key = csr.new_key()
    body = {"csr": csr.intermediate_request(key, "zz", "other.local"), "common_name": "zz", "ttl": "43800h"}
    paths = ("issuer/root-1/sign-intermediate", "root/sign-intermediate", "root/sign-self-issued", "sign-verbatim")
    for mount in (ROOT_MOUNT, INT_MOUNT):
        for path in (*paths, "intermediate/generate/exported", "issuers/import/bundle", "root/generate/exported"):
            with pytest.raises(Denied):
                ca.vault.call(ca.resident(), "post", f"{mount}/{path}", body)


@pytest.mark.parametrize(
    "more",
    [
        {"token_policies": "mesh-enrol"},
        {"token_policies": ["mesh-sign-service", "mesh-enrol"]},
        {"token_policies": "mesh-sign-service,root"},
        {"token_policies": "mesh-sign-component"},
        {"token_policies": "*"},
        {"policies": "mesh-enrol"},
        {"TOKEN_POLICIES": "mesh-enrol"},
        {"token_ttl": "87600h"},
        {"token_period": "1h"},
        {"token_type": "service"},
        {"token_no_default_policy": False},
        {"bind_secret_id": False},
        {"local_secret_ids": True},
    ],
    ids=str,
)
def test_an_approle_that_can_more_than_sign_is_refused(ca, more):
    with pytest.raises(Denied):
        ca.vault.call(ca.resident(), "post", "auth/mesh-services/role/zz", {**GOOD, **more})
    assert ca.vault.read(ca.resident(), "auth/mesh-services/role/zz") is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("policies", {"token_policies": "mesh-enrol"}),
        ("role-id", {"role_id": "legation"}),
        ("custom-secret-id", {"secret_id": "canary"}),
        ("secret-id", {"metadata": '{"role_name": "web"}'}),
        ("bind-secret-id", {"bind_secret_id": False}),
        ("token-ttl", {"token_ttl": 86400}),
        ("secret-id/lookup", {"secret_id": "x"}),
    ],
)
def test_nothing_below_an_approle_is_open(ca, path, body):
    for role in ("auth/mesh-services/role/orders", f"auth/approle/role/{ENROL}"):
        with pytest.raises((Denied, Rejected)):
            ca.vault.call(ca.resident(), "post", f"{role}/{path}", body, 60)


def test_a_secret_id_travels_wrapped_or_not_at_all(ca):
    with pytest.raises(Denied):
        ca.vault.call(ca.resident(), "post", "auth/mesh-services/role/orders/secret-id", {})
    with pytest.raises(Denied):
        ca.vault.call(ca.resident(), "post", "auth/mesh-services/role/orders/secret-id", {}, 86400)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "sys/mounts/zz", {"type": "pki"}),
        ("delete", f"sys/mounts/{INT_MOUNT}", None),
        ("post", f"sys/mounts/{INT_MOUNT}/tune", {"max_lease_ttl": "1h"}),
        ("post", "sys/auth/zz", {"type": "approle"}),
        ("post", "sys/auth/mesh-services/tune", {"description": "x"}),
        ("post", "auth/token/create", {"policies": ["root"]}),
        ("post", f"auth/approle/role/{ENROL}", {"token_policies": "root"}),
        ("post", "auth/approle/role/zz", GOOD),
        ("post", "identity/entity", {"policies": ["root"]}),
        ("post", "identity/entity-alias", {"name": "web"}),
        ("post", f"{INT_MOUNT}/roles/zz", {"allow_any_name": True}),
        ("patch", f"{INT_MOUNT}/roles/service", {"allow_any_name": True}),
        ("post", f"{INT_MOUNT}/sign/service", {"csr": "x", "uri_sans": ORDERS.spiffe_id}),
        ("post", f"{INT_MOUNT}/sign-verbatim", {"csr": "x"}),
        ("patch", f"{INT_MOUNT}/issuer/int-1", {"usage": "read-only"}),
        ("post", f"{INT_MOUNT}/config/issuers", {"default": "root-1"}),
        ("post", f"{INT_MOUNT}/config/crl", {"disable": True}),
        ("delete", f"{INT_MOUNT}/root", None),
        ("post", "sys/seal", {}),
        ("post", "sys/raw/x", {}),
    ],
)
def test_the_host_rules_nothing_else(ca, method, path, body):
    with pytest.raises(VaultError):
        ca.vault.call(ca.resident(), method, path, body)


def test_the_worst_that_it_can_do(ca):
    """It enrols any name of the mesh, as a new service needs no operator: for the mesh's own domain and no other."""
    stolen = ca.enroller().deliver("zz")
    token = ca.vault.login(stolen)
    asked = {"csr": csr.leaf_request(csr.new_key()), "uri_sans": "spiffe://shop.local/zz", "ttl": "87600h"}
    answer = ca.vault.call(token, "post", f"{INT_MOUNT}/sign/service", asked)
    assert answer["data"]["expiration"] < ca.root.not_valid_after_utc.timestamp()
    for kind in KINDS:
        for uri in ("spiffe://other.local/zz", ORDERS.spiffe_id):
            with pytest.raises((Rejected, Denied)):
                ca.vault.call(token, "post", f"{INT_MOUNT}/sign/{kind.role}", {**asked, "uri_sans": uri})
    ca.enroller().remove("zz")


def test_no_policy_of_the_mesh_but_that_of_set_up_writes_policies():
    """And that one is on no host: each rule is looked at, so that a new one cannot slip in."""
    for text in [*POLICIES.values(), *(text for name, text in edge.POLICIES.items() if name != edge.HOSTS)]:
        assert "sys/" not in text
        assert "sign-intermediate" not in text
        reads = ("service", "component", "edge")
        assert "/roles/" not in reduce(lambda left, role: left.replace(f'"{INT_MOUNT}/roles/{role}"', ""), reads, text)
    assert "sys/policies/acl" in INIT_POLICY
