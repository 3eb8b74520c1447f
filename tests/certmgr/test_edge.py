"""The gateway's certificates that certmgr has issued: whom Vault signs for, and what is renewed when."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from certmgr.core import edge
from certmgr.core.bundle import Bundle, serial_text
from certmgr.core.edge import EdgeSpec, Grants, edge_faults, edge_hosts, edge_plan
from certmgr.core.layout import INT_MOUNT
from certmgr.core.ledger import Record
from certmgr.core.plan import IdentitySpec
from certmgr.edge import IssuedSites
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.edge import EdgeEnroller, EdgeIssuer
from certmgr.issue.issuer import IssueError, NotEnrolled, WrongAnswer
from certmgr.issue.setup import CannotSetUp
from certmgr.issue.vault import Denied, Rejected
from certmgr.metrics import Metrics
from certmgr.sites import Sites
from certmgr.store import Store
from legation.mesh import names
from legation.mesh.load import load
from legation.runtime.clock import WallClock
from legation.runtime.tasks import until
from tests.certmgr.authority import CLIENT, SERVER, Authority, sign
from tests.certmgr.world import NOW, Clock

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


def signed(ca, hosts, *, client=False, **wrong):
    """What Vault would answer, but for what `wrong` says."""
    named = [x509.DNSName(host) for host in hosts]
    purposes = [SERVER, CLIENT] if client else [SERVER]
    return ca.issue(IdentitySpec("edge", "", 60), names=named, purposes=purposes, **wrong)


class Signer:
    """Issues at once; or raises what is in `broken`."""

    def __init__(self, clock):
        self.clock, self.ca, self.broken, self.issued = clock, Authority(clock.now()), None, 0

    def issue(self, spec):
        if self.broken is not None:
            raise self.broken
        self.issued += 1
        now = self.clock.now()
        return signed(self.ca, spec.hosts, life=(now - 60, now + spec.ttl))


class Desk:
    """Issued sites on a folder, with a clock and a CA that the test holds."""

    def __init__(self, folder):
        self.clock = Clock()
        self.signer, self.store, self.metrics = Signer(self.clock), Store(folder), Metrics(CollectorRegistry())
        self.asked, self.shown, self.revoked = [], [], []
        self.issued = self.make()

    def make(self):
        made = IssuedSites(
            self.signer.issue, self.store, self.metrics, self.clock,
            lambda name, refused: self.asked.append((name, refused)),
        )  # fmt: skip
        self.sites = Sites(self.store, self.metrics, lambda pairs, problem: self.shown.append((pairs, problem)), made)
        return made

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.issued.run(self.sites.tell, lambda: self.revoked))
        try:
            yield
        finally:
            task.cancel()

    async def until(self, what):
        async def holds():
            return what()

        assert await until(holds, 10), (self.shown, self.asked)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    with desk.store.lock():
        yield desk


def alone(hosts: str = "[shop.test]", tls: str = "issuer: certmgr", ttl: str = "600s"):
    expose = f"{{port: 8443, hosts: {hosts}, tls: {{{tls}}}}}"
    text = f"mesh: m\ntrust_domain: m.local\ncertificates: {{ttl: {ttl}}}\nservices:\n"
    return load(f"{text}  shop: {{protocol: http, port: 80, expose: {expose}}}\n", "mesh.yaml").mesh


class SlowDisk(Store):
    """Waits in the midst of a certificate's writing until the test goes on."""

    def __init__(self, folder):
        super().__init__(folder)
        self.writing, self.go_on, self.written = threading.Event(), threading.Event(), False

    def save_site(self, name, pair):
        self.writing.set()
        assert self.go_on.wait(10)
        super().save_site(name, pair)
        self.written = True


@pytest.fixture
def writing(desk):
    """A desk in the midst of writing its first certificate."""
    desk.store = SlowDisk(desk.store.folder)
    desk.issued = desk.make()
    return desk


def test_hosts_that_change_while_a_certificate_is_written_are_asked_for(writing, tmp_path):
    """What was written is for others: it is not taken for theirs."""

    async def main():
        writing.sites.want(alone(), tmp_path)
        async with writing.running():
            assert await asyncio.to_thread(writing.store.writing.wait, 10)
            writing.sites.want(alone(hosts="[shop.test, www.test]"), tmp_path)
            writing.store.go_on.set()
            await writing.until(writing.issued.pairs)
            assert writing.issued.pairs()["shop"].hosts == ("shop.test", "www.test")

    asyncio.run(main())


def test_who_leaves_while_a_certificate_is_written_leaves_no_file(writing, tmp_path):
    async def main():
        writing.sites.want(alone(), tmp_path)
        async with writing.running():
            assert await asyncio.to_thread(writing.store.writing.wait, 10)
            writing.issued.want(())
            writing.store.go_on.set()
            file = tmp_path / "sites" / "shop.json"
            await writing.until(lambda: writing.store.written and not file.exists())
        assert writing.issued.pairs() == {}

    asyncio.run(main())


def test_it_is_renewed_at_half_of_its_life_and_kept_over_a_restart(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        async with desk.running():
            await desk.until(lambda: desk.signer.issued == 1)
            desk.clock.time += 200
            await desk.until(lambda: len(desk.shown[-1][0]) == 1)
            assert desk.signer.issued == 1
            desk.clock.time += 200
            await desk.until(lambda: desk.signer.issued == 2)
            await desk.until(lambda: desk.shown[-1][0]["shop"].not_after == desk.clock.time + 600)
        desk.issued = desk.make()
        desk.sites.want(alone(), tmp_path)
        assert desk.shown[-1][0]["shop"].issued
        async with desk.running():
            desk.sites.want(alone(ttl="300s"), tmp_path)
            await desk.until(lambda: desk.signer.issued == 3), "its life is too long now"
            desk.sites.want(alone(hosts="[shop.test, www.test]"), tmp_path)
            await desk.until(lambda: desk.signer.issued == 4)
            await desk.until(lambda: len(desk.shown[-1][0]) == 1)
        text = desk.store.folder / "sites" / "shop.json"
        assert text.stat().st_mode & 0o777 == 0o600
        desk.sites.want(load(MESH[: MESH.index("  api")] + "  web: {protocol: http, port: 80}\n", "m").mesh, tmp_path)
        assert not text.exists()
        assert desk.shown[-1] == ({}, None)

    asyncio.run(main())


def test_what_is_revoked_is_replaced_once(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        async with desk.running():
            await desk.until(lambda: desk.shown and desk.shown[-1][0])
            first = x509.load_pem_x509_certificates(desk.shown[-1][0]["shop"].chain)[0]
            desk.signer.broken = Denied("403")
            desk.revoked.append(serial_text(first.serial_number))
            await desk.until(lambda: desk.asked)
            desk.signer.broken = None
            desk.clock.time += 40
            await desk.until(lambda: desk.signer.issued == 2)
            assert len(desk.asked) < 9, "while Vault says no, it is asked no more often than else"

    asyncio.run(main())


def test_what_keeps_it_is_said_and_the_last_one_stays(desk, tmp_path):
    async def main():
        desk.sites.want(alone(), tmp_path)
        desk.signer.broken = NotEnrolled("no credentials yet")
        async with desk.running():
            await desk.until(lambda: desk.asked == [("legation-edge", False)])
            assert desk.shown[-1] == ({}, None), "it is on its way"
            desk.signer.broken = None
            desk.issued.recovered()
            desk.clock.time += 1
            await desk.until(lambda: "shop" in desk.shown[-1][0])
            desk.signer.broken = Denied("403")
            desk.clock.time += 400
            await desk.until(lambda: desk.shown[-1][1] is not None)
            assert desk.shown[-1][1] == "certificate of shop for the gateway: 403"
            assert "shop" in desk.shown[-1][0]
            assert desk.metrics.registry.get_sample_value("certmgr_edge_certificate_broken", {"service": "shop"}) == 1
            assert desk.asked[-1] == ("legation-edge", False)

    asyncio.run(main())


def test_a_damaged_or_foreign_file_is_not_shown(desk, tmp_path):
    for text in ("{", '{"chain": "YQ==", "key": "YQ==", "hosts": ["shop.test"], "not_after": 9e9}'):
        (desk.store.folder / "sites" / "shop.json").write_text(text)
        (desk.store.folder / "sites" / "shop.json").chmod(0o600)
        desk.issued = desk.make()
        desk.sites.want(alone(), tmp_path)
        assert desk.shown[-1] == ({}, None)
