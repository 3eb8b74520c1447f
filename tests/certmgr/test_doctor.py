"""What the doctor says of a Vault that was seen, without one: ends, transports, policies, roots."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.doctor import Server, findings
from certmgr.core.layout import INT_MOUNT, ROOT_MOUNT
from certmgr.core.setup import Authority, CannotSetUp, Seen, plan
from tests.certmgr.authority import YEAR
from tests.certmgr.authority import Authority as Ca

NOW = 1_800_000_000.0
SHOP = Authority("shop", "shop.local")
VAULT, BAO = Server("https://v:8200", "1.21.0"), Server("http://b:8200", "2.7.2")


def seen(ca: Ca, **more) -> Seen:
    """A Vault whose CAs are as they should be."""

    def told(certificate, name, key):
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return {"certificate": pem, "issuer_name": name, "issuer_id": name, "key_id": key}

    return Seen(
        {
            f"{ROOT_MOUNT}/issuers": {"keys": ["root-1"]},
            f"{ROOT_MOUNT}/issuer/root-1": told(ca.root, "root-1", "k"),
            f"{INT_MOUNT}/issuers": {"keys": ["int-1"]},
            f"{INT_MOUNT}/issuer/int-1": told(ca.intermediate, "int-1", "k"),
            "sys/audit": {"file/": {}},
            **more,
        }
    )


def of(kind, found):
    return {finding.where: finding for finding in found if finding.kind == kind}


@pytest.mark.parametrize(
    ("days", "said"), [(29, {f"{ROOT_MOUNT}/issuer/root-1", f"{INT_MOUNT}/issuer/int-1"}), (31, set())]
)
def test_end_of_a_ca_is_said_thirty_days_before(days, said):
    later = NOW + 10 * YEAR - days * 86400
    found = of("ends soon", findings(seen(Ca(NOW)), SHOP, VAULT, later))
    assert said == set(found)
    assert all("every certificate below it ends with it" in finding.what for finding in found.values())


def test_plain_http_and_a_missing_audit_are_said_in_the_words_of_the_product():
    found = findings(seen(Ca(NOW), **{"sys/audit": {}}), SHOP, BAO, NOW)
    assert "tokens travel in clear" in of("over-broad", found)["http://b:8200"].what
    assert "in its configuration" in of("missing", found)["sys/audit"].fix
    found = findings(seen(Ca(NOW), **{"sys/audit": {}}), SHOP, VAULT, NOW)
    assert of("missing", found)["sys/audit"].fix.startswith("vault audit enable file")
    assert (VAULT.product, BAO.product) == ("Vault 1.21.0", "OpenBao 2.7.2")
    assert VAULT.differences() != BAO.differences()


@pytest.mark.parametrize(
    ("path", "rights", "dangerous"),
    [
        ("*", '"sudo"', True),
        ("mesh-int/*", '"update"', True),
        ("mesh-int/sign-verbatim", '"create"', True),
        ("mesh-int/+/service", '"update"', True),
        ("mesh-root/issuer/+/sign-intermediate", '"update"', True),
        ("auth/mesh-services/role/*", '"update"', True),
        ("auth/mesh-services/role/+", '"update"', False),
        ("mesh-int/*", '"read", "list"', False),
        ("mesh-int/sign-verbatim", '"deny"', False),
        ("mesh-int/sign/service", '"update"', False),
        ("mesh-internal/*", '"update"', False),
        ("secret/*", '"update"', False),
    ],
)
def test_policy_that_reaches_what_only_an_operator_may_is_found(path, rights, dangerous):
    text = f'# mine\npath "{path}" {{\n  capabilities = [{rights}]\n  allowed_parameters = {{ "x" = [] }}\n}}\n'
    policies = {"sys/policies/acl": {"keys": ["mine"]}, "sys/policies/acl/mine": {"policy": text}}
    found = of("over-broad", findings(seen(Ca(NOW), **policies), SHOP, VAULT, NOW))
    assert dangerous == ("policy mine" in found)


def test_a_fix_can_be_given_as_it_stands_and_a_policy_is_not_quoted():
    server = Server("https://v:8200", "1.21.0", "ca.pem")
    more = {"sys/policies/acl/mesh-enrol": {"policy": 'path "*" { capabilities = ["read"] }'}}
    found = of("over-broad", findings(seen(Ca(NOW), **more), SHOP, server, NOW))["sys/policies/acl/mesh-enrol"]
    assert found.what == "its text is not the one that set-up writes"
    assert found.fix == "legation certs init --vault https://v:8200 --vault-ca ca.pem"


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ({"allow_any_name": True}, "allow_any_name=true"),
        ({"allowed_uri_sans": ["spiffe://shop.local/*"]}, "allowed_uri_sans=spiffe://shop.local/*"),
        ({"use_csr_sans": True}, "lets the request decide"),
        ({"key_type": "any"}, "key_type=any"),
        ({}, "it is no role of the mesh"),
    ],
)
def test_role_beside_ours_is_found(role, said):
    more = {f"{INT_MOUNT}/roles": {"keys": ["x", "service"]}, f"{INT_MOUNT}/roles/x": role}
    found = of("over-broad", findings(seen(Ca(NOW), **more), SHOP, VAULT, NOW))
    assert said in found[f"{INT_MOUNT}/roles/x"].what
    assert found[f"{INT_MOUNT}/roles/x"].fix == "vault delete mesh-int/roles/x"


def test_foreign_things_in_our_places_are_for_somebody_to_look_at():
    for mounts, said in (({f"{INT_MOUNT}/": {"type": "kv"}}, "is a kv engine"),):
        with pytest.raises(CannotSetUp, match=said):
            plan(Seen({"sys/mounts": mounts}), SHOP, NOW)
    with pytest.raises(CannotSetUp, match="of type userpass and not approle"):
        plan(Seen({"sys/auth": {"mesh-services/": {"type": "userpass"}}}), SHOP, NOW)
    unbound = seen(Ca(NOW, constrained=False))
    with pytest.raises(CannotSetUp, match="not bound to the trust domain"):
        plan(unbound, SHOP, NOW)
    assert "not bound" in of("missing", findings(unbound, SHOP, VAULT, NOW))[INT_MOUNT].what


def test_plan_of_an_empty_vault_names_everything_once_and_no_service():
    steps = plan(Seen(), SHOP, NOW)
    assert {"+"} == {step.sign for step in steps if step.act != "patch"}
    assert len(steps) == len({step.path for step in steps})
    assert {"auth/mesh-services", "auth/mesh-components", "the intermediate"} == {s.waits for s in steps if s.waits}


def test_policies_of_ours_and_empty_ones_are_no_fault():
    more = {"sys/policies/acl": {"keys": ["mesh-enrol", "empty"]}, "sys/policies/acl/mesh-enrol": {"policy": "path"}}
    found = of("over-broad", findings(seen(Ca(NOW), **more), SHOP, VAULT, NOW))
    assert not [where for where in found if where.startswith("policy ")]


def test_root_that_is_for_trying_things_out_is_said_to_a_team():
    more = seen(Ca(NOW, root="Legation DEV root of shop"))
    assert "is for trying things out" in of("over-broad", findings(more, SHOP, VAULT, NOW))[ROOT_MOUNT].what
    tried = Authority("shop", "shop.local", dev=True)
    assert ROOT_MOUNT not in of("over-broad", findings(more, tried, VAULT, NOW))


def test_what_an_earlier_layout_left_is_over_broad():
    more = {"auth/approle/role": {"keys": ["legation-operator"]}}
    found = of("over-broad", findings(seen(Ca(NOW), **more), SHOP, VAULT, NOW))
    assert "of an earlier layout" in found["auth/approle/role/legation-operator"].what


def test_what_the_token_may_not_read_is_not_called_right():
    found = of("unknown", findings(seen(Ca(NOW)), SHOP, VAULT, NOW, ("sys/audit",)))
    assert set(found) == {"sys/audit"}


def test_roots_that_are_missing_are_for_somebody_to_look_at():
    team = Authority("shop", "shop.local", root_mount="pki", root_issuer="main")
    with pytest.raises(CannotSetUp, match="pki has no issuer called main"):
        plan(Seen(), team, NOW)
    headless = {k: v for k, v in seen(Ca(NOW)).at.items() if ROOT_MOUNT not in k}
    with pytest.raises(CannotSetUp, match="an intermediate, but mesh-root no root"):
        plan(Seen(headless), SHOP, NOW)
