"""The gateway's certificates that certmgr has issued: whom Vault signs for."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography import x509

from certmgr.core import edge
from certmgr.core.bundle import Bundle
from certmgr.core.edge import EdgeSpec, Grants, edge_faults, edge_hosts, edge_plan
from certmgr.core.layout import INT_MOUNT
from certmgr.core.ledger import Record
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.edge import EdgeEnroller, EdgeIssuer
from certmgr.issue.issuer import IssueError, NotEnrolled, WrongAnswer
from certmgr.issue.setup import CannotSetUp
from certmgr.issue.vault import Denied, Rejected
from certmgr.store import Store
from legation.mesh import names
from legation.mesh.load import load
from legation.runtime.clock import WallClock
from tests.certmgr.authority import SERVER, Authority, sign, signed
from tests.certmgr.world import NOW

SHOP = EdgeSpec("shop", ("shop.test", "*.shop.test"), 60)
MESH = """mesh: shop
trust_domain: shop.local
certificates: {ttl: 60s}
services:
  api: {protocol: http, port: 80, expose: {port: 8443, hosts: [api.test], tls: {issuer: certmgr}}}
  shop: {protocol: http, port: 80, expose: {port: 8443, hosts: [shop.test, "*.shop.test"], tls: {issuer: certmgr}}}
  files: {protocol: http, port: 80, expose: {port: 8443, hosts: [files.test], tls: {cert: a, key: b}}}
  plain: {protocol: http, port: 80, expose: {port: 8080}}
"""


def test_the_plan_is_for_who_says_so() -> None:
    mesh = load(MESH, "mesh.yaml").mesh
    assert edge_plan(mesh) == (EdgeSpec("api", ("api.test",), 60), SHOP)
    assert edge_hosts(mesh) == ("*.shop.test", "api.test", "shop.test")


def test_a_mesh_without_such_hosts_has_nothing_in_the_vault_of_a_team() -> None:
    grants = Grants((), free=False)
    assert (grants.kinds, dict(grants.policies), grants.enroller, grants.role("ec-p256", 1, {}, "int-1")) == (
        (),
        {},
        (),
        None,
    )


def test_hosts_are_an_operators_to_write_but_in_an_embedded_openbao() -> None:
    assert Grants(("a.test",), free=False).enroller == (edge.ENROL_EDGE,)
    assert Grants((), free=True).enroller == (edge.ENROL_EDGE, edge.HOSTS)
    role = Grants(("a.test",), free=False).role("ec-p256", 3600, {"allowed_domains": ["b.test"]}, "int-1") or {}
    assert (role["allowed_domains"], role["allow_wildcard_certificates"]) == (["a.test"], False)
    free = Grants((), free=True).role("ec-p256", 3600, {"allowed_domains": ["b.test"]}, "int-1") or {}
    assert free["allowed_domains"] == ["b.test"]


@pytest.fixture
def here(ca, tmp_path) -> Iterator["Here"]:
    here = Here(ca, tmp_path)
    with here.store.lock():
        here.store.trust([ca.root])
        yield here
        here.enrol()


class Here:
    """A host with an embedded OpenBao: what may say the role's hosts, and what has certificates signed for them."""

    def __init__(self, ca, folder):
        self.ca, self.store = ca, Store(folder / "certmgr")
        self.enroller = EdgeEnroller(ca.vault, self.store, free=True)
        self.records: list[Record] = []
        self.issuer = EdgeIssuer(ca.vault, self.store, WallClock(), self.records.append, free=True)

    def enrol(self, *hosts, refused=False):
        hosts = tuple(sorted(hosts))
        return self.enroller.enrol(self.ca.resident(), hosts, refused) if self.enroller.pending(hosts, refused) else []

    def sign(self, **more):
        token = self.ca.vault.login(self.store.credentials(names.EDGE))
        body = {"csr": leaf_request(new_key()), "alt_names": "shop.test", "ttl": "60s", **more}
        return self.ca.vault.call(token, "post", f"{INT_MOUNT}/sign/edge", body)


def test_new_hosts_need_no_operator(here):
    with pytest.raises(NotEnrolled):
        here.issuer.issue(SHOP)
    assert here.enrol(*SHOP.hosts) == ["~mesh-int/roles/edge", "+legation-edge"]
    bundle = here.issuer.issue(SHOP)
    assert edge_faults(bundle, SHOP, here.ca.root, time.time()) == ()
    assert (here.records[0].identity, here.records[0].serial) == ("legation-edge", bundle.serial)
    with pytest.raises(NotEnrolled, match=r"is being told of new\.test"):
        here.issuer.issue(EdgeSpec("new", ("new.test",), 60))
    assert here.enrol("new.test", *SHOP.hosts) == ["~mesh-int/roles/edge"]
    here.issuer.issue(EdgeSpec("new", ("new.test",), 60))
    assert here.enrol("new.test", *SHOP.hosts) == []
    assert here.enrol(refused=False) == ["~mesh-int/roles/edge", "-legation-edge"]
    assert here.enrol() == []


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"alt_names": "other.test"}, Rejected),
        ({"alt_names": "shop.test,other.test"}, Rejected),
        ({"alt_names": "a.shop.test"}, Rejected),
        ({"alt_names": "*.a.shop.test"}, Rejected),
        ({"alt_names": "*.test"}, Rejected),
        ({"alt_names": "localhost"}, Rejected),
        ({"alt_names": "somebody@other.test"}, Rejected),
        ({"uri_sans": "spiffe://shop.local/orders"}, Denied),
        ({"ip_sans": "127.0.0.1"}, Denied),
        ({"common_name": "shop.test"}, Denied),
        ({"not_after": "2040-01-01T00:00:00Z"}, Denied),
    ],
    ids=str,
)
def test_the_role_signs_for_its_hosts_alone(here, more, refusal):
    """Not for what is below them, nor for a name that the mesh would take."""
    here.enrol(*SHOP.hosts)
    with pytest.raises(refusal):
        here.sign(**more)


@pytest.mark.parametrize("path", ["sign/service", "sign/component", "sign-verbatim", "issue/edge", "roles/edge"])
def test_its_signer_may_do_nothing_else(here, path):
    here.enrol(*SHOP.hosts)
    token = here.ca.vault.login(here.store.credentials(names.EDGE))
    with pytest.raises(Denied):
        here.ca.vault.call(token, "post", f"{INT_MOUNT}/{path}", {"csr": leaf_request(new_key())})


@pytest.mark.parametrize(
    "body", [{"allow_any_name": True}, {"allowed_domains": ["a.test"], "allow_subdomains": True}, {"max_ttl": "9h"}]
)
def test_what_runs_all_the_time_may_change_the_roles_hosts_alone(here, body):
    for method in ("patch", "post"):
        with pytest.raises(Denied):
            here.ca.vault.call(here.ca.resident(), method, edge.ROLE_PATH, body)
    with pytest.raises(Denied):
        here.ca.vault.call(here.ca.resident(), "post", edge.ROLE_PATH, {"allowed_domains": ["a.test"]})
    for path in ("auth/mesh-edge/role/zz", "auth/mesh-edge/role/edge/policies"):
        with pytest.raises(Denied):
            here.ca.vault.call(here.ca.resident(), "post", path, {"token_policies": "mesh-sign-service"})


def test_even_every_host_is_no_identity_of_the_mesh(here):
    """The worst that a thief of the host's credential can do with it here: a certificate that no proxy takes."""
    here.enrol("shop.test")
    here.ca.vault.call(here.ca.resident(), "patch", edge.ROLE_PATH, {"allowed_domains": ["*", "orders", "*.test"]})
    with pytest.raises(Rejected):
        here.sign(alt_names="a.b.test")
    found = [
        x509.load_pem_x509_certificate(here.sign(alt_names=name)["data"]["certificate"].encode())
        for name in ("orders", "*.test", "spiffe://shop.local/orders")
    ]
    named = [edge._names(leaf) for leaf in found]
    assert named == [{x509.DNSName("orders")}, {x509.DNSName("*.test")}, set()], "no URI, so no SPIFFE ID"
    purposes = [list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for leaf in found]
    assert purposes == [[SERVER]] * 3, "no client of the mesh has it"


def test_refused_credentials_are_replaced(here):
    here.enrol(*SHOP.hosts)
    before = here.store.credentials(names.EDGE)
    assert here.enrol(*SHOP.hosts, refused=True) == ["+legation-edge"]
    assert before != here.store.credentials(names.EDGE)


def test_keys_are_as_the_role_wants_them(here):
    here.enrol(*SHOP.hosts)
    operator = here.ca.bao.operator()
    here.ca.vault.call(operator, "patch", edge.ROLE_PATH, {"key_type": "rsa", "key_bits": 2048})
    try:
        assert here.issuer.issue(SHOP).key.key_size == 2048
        here.ca.vault.call(operator, "patch", edge.ROLE_PATH, {"key_type": "ed25519", "key_bits": 0})
        with pytest.raises(WrongAnswer, match="the role wants ed25519 keys"):
            here.issuer.issue(SHOP)
        here.ca.vault.call(operator, "patch", edge.ROLE_PATH, {"key_type": "ec", "key_bits": 256, "client_flag": True})
        with pytest.raises(WrongAnswer, match="not server authentication alone"):
            here.issuer.issue(SHOP)
    finally:
        here.ca.setup()


def test_a_vault_that_is_not_set_up_for_it_is_said_with_the_fix(here, ca):
    team = EdgeEnroller(ca.vault, here.store, free=False)
    operator = ca.bao.operator()
    ca.vault.call(operator, "delete", f"sys/policies/acl/{edge.ENROL_EDGE}")
    try:
        with pytest.raises(CannotSetUp, match=r"shop\.test at the gateway: .*; legation certs init with this mesh"):
            team.enrol(ca.resident(), SHOP.hosts, False)
    finally:
        ca.setup()
    team.enrol(ca.resident(), SHOP.hosts, False)
    mine = EdgeIssuer(ca.vault, here.store, WallClock(), here.records.append)
    with pytest.raises(IssueError, match=r"mesh-int/roles/edge is not for new\.test: legation certs init"):
        mine.issue(EdgeSpec("new", ("new.test",), 60))
    ca.vault.call(operator, "delete", f"sys/policies/acl/{edge.ENROL_EDGE}")
    try:
        assert team.enrol(ca.resident(), (), False) == [], "nothing is left to remove it with"
        assert here.store.credentials(names.EDGE) is None
    finally:
        ca.setup()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hosts": ("other.test",)}, "its names are not shop.test"),
        ({"hosts": ()}, "its names are not shop.test"),
        ({"client": True}, "not server authentication alone"),
        ({"other_key": True}, "for another key"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_not_shown(change, said):
    ca = Authority(NOW)
    spec = replace(SHOP, hosts=("shop.test",))
    assert edge_faults(signed(ca, spec.hosts), spec, ca.root, NOW) == ()
    (found,) = edge_faults(signed(ca, **{"hosts": spec.hosts, **change}), spec, ca.root, NOW)
    assert said in found


def test_a_certificate_that_says_no_purpose_is_not_shown():
    ca = Authority(NOW)
    key = new_key()
    bare = sign(key, "", "int", ca.key, (NOW - 60, NOW + 60), ())
    found = edge_faults(Bundle(key, bare, (ca.intermediate,), ca.root), SHOP, ca.root, NOW)
    assert len(found) == 2
