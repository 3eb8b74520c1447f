"""The CA on a real OpenBao: what set-up makes, and what nobody can get out of it."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certmgr.core.plan import Wanted
from certmgr.core.verify import intermediate_faults
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.issuer import Issuer, WrongAnswer
from certmgr.issue.setup import Authority, ForeignIssuer, Setup
from certmgr.issue.vault import Denied, Missing, Rejected, VaultError
from certmgr.openbao import INT_MOUNT, ROOT_MOUNT
from legation.runtime.clock import WallClock
from tests.certmgr.conftest import ORDERS, WEB


class Kept:
    def __init__(self, ca):
        self._ca = ca

    def credentials(self, name):
        return self._ca.given[name]

    def root(self):
        return self._ca.root


def issuer(ca):
    return Issuer(ca.vault, Kept(ca), WallClock(), lambda: None)


def test_second_set_up_changes_nothing(ca):
    operator = ca.bao.operator()
    before = {path: ca.vault.keys(operator, path) for path in (f"{ROOT_MOUNT}/issuers", f"{INT_MOUNT}/issuers")}
    assert ca.setup() == []
    assert [1, 1] == [len(keys) for keys in before.values()]
    assert before == {path: ca.vault.keys(operator, path) for path in before}


def test_intermediate_is_bound_to_the_trust_domain_and_its_key_is_nowhere_else(ca):
    found = ca.vault.read(ca.bao.operator(), f"{INT_MOUNT}/issuer/int-1")
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    assert intermediate_faults(certificate, ca.root, "shop.local", time.time()) == ()
    assert "DEV root of shop" in ca.root.subject.rfc4514_string()


def test_half_done_set_up_is_adopted(ca):
    """It died between import and naming: the nameless issuer gets its name back, no second one is made."""
    operator = ca.bao.operator()
    (signer,) = ca.vault.keys(operator, f"{INT_MOUNT}/issuers")
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/issuer/{signer}", {"issuer_name": ""})
    assert ca.setup() == [f"{INT_MOUNT}/issuer"]
    assert ca.vault.keys(operator, f"{INT_MOUNT}/issuers") == (signer,)


def test_other_trust_domain_is_refused_not_mixed_in(ca):
    with pytest.raises(ForeignIssuer, match=r"not bound to the trust domain other\.local"):
        Setup(ca.vault, ca.bao.operator()).run(Authority("shop", "other.local"), (ORDERS,), time.time())


def test_shorter_life_updates_the_role_alone(ca):
    assert ca.setup(Wanted("orders", ORDERS.spiffe_id, 90), WEB) == [f"{INT_MOUNT}/roles/orders"]
    assert ca.vault.read(ca.bao.operator(), f"{INT_MOUNT}/roles/orders")["max_ttl"] == 90


def test_role_that_was_opened_by_hand_is_closed_again(ca):
    operator = ca.bao.operator()
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/roles/orders", {"allow_any_name": True, "use_csr_sans": True})
    assert ca.setup() == [f"{INT_MOUNT}/roles/orders"]


def test_service_that_left_can_sign_no_more(ca):
    token = ca.vault.login(ca.given["web"])
    assert [
        "-auth/approle/role/mesh-sign-web",
        "-mesh-int/roles/web",
        "-sys/policies/acl/mesh-sign-web",
    ] == ca.setup(ORDERS)
    with pytest.raises(Rejected):
        ca.vault.login(ca.given["web"])
    with pytest.raises(VaultError):
        sign(ca, token, "web", WEB.spiffe_id)
    assert ca.vault.login(ca.bao.credentials()), "the operator itself stays"


def test_identity_is_issued_as_asked(ca):
    bundle = issuer(ca).issue(ORDERS)
    before, after = bundle.life
    assert 58 <= after - time.time() <= 61
    assert 118 <= after - before <= 121
    assert bundle.serial != issuer(ca).issue(ORDERS).serial


def sign(ca, token, role, uri, request=None, **more):
    body = {"csr": request or leaf_request(new_key()), "uri_sans": uri, "ttl": "60s", "format": "pem", **more}
    return ca.vault.call(token, "post", f"{INT_MOUNT}/sign/{role}", body)["data"]["certificate"]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("sign/web", WEB.spiffe_id),
        ("sign/web", ORDERS.spiffe_id),
        ("sign/orders", WEB.spiffe_id),
        ("sign-verbatim", ORDERS.spiffe_id),
        ("sign-verbatim/orders", ORDERS.spiffe_id),
        ("issue/orders", ORDERS.spiffe_id),
        ("issuer/int-1/sign/orders", ORDERS.spiffe_id),
        ("issuer/int-1/sign-verbatim", ORDERS.spiffe_id),
        ("roles/orders", ORDERS.spiffe_id),
        ("root/generate/internal", ORDERS.spiffe_id),
        ("config/issuers", ORDERS.spiffe_id),
    ],
)
def test_token_of_a_service_signs_its_own_name_by_its_own_role_alone(ca, path, uri):
    token = ca.vault.login(ca.given["orders"])
    body = {"csr": leaf_request(new_key()), "uri_sans": uri, "ttl": "60s"}
    with pytest.raises(Denied):
        ca.vault.call(token, "post", f"{INT_MOUNT}/{path}", body)


@pytest.mark.parametrize(
    "more",
    [{"alt_names": "a.example"}, {"ip_sans": "10.0.0.1"}, {"not_after": "2040-01-01T00:00:00Z"}, {"common_name": "x"}],
)
def test_token_of_a_service_may_ask_for_nothing_more(ca, more):
    token = ca.vault.login(ca.given["orders"])
    with pytest.raises(Denied):
        sign(ca, token, "orders", ORDERS.spiffe_id, **more)


@pytest.mark.parametrize(
    "path", [f"{INT_MOUNT}/sign/orders", f"{INT_MOUNT}/sign-verbatim", f"{ROOT_MOUNT}/sign-verbatim"]
)
def test_operator_signs_no_leaf(ca, path):
    body = {"csr": leaf_request(new_key()), "uri_sans": ORDERS.spiffe_id}
    with pytest.raises(Denied):
        ca.vault.call(ca.bao.operator(), "post", path, body)


def evil(*extensions):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin.example")])
    builder = x509.CertificateSigningRequestBuilder(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


EVIL = {
    "a foreign URI": (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(WEB.spiffe_id)]),),
    "a host name": (x509.SubjectAlternativeName([x509.DNSName("admin.example")]),),
    "a CA": (x509.BasicConstraints(True, None),),
    "certificate signing": (x509.KeyUsage(True, False, False, False, False, True, True, False, False),),
    "all of it": (
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(WEB.spiffe_id), x509.DNSName("a.example")]),
        x509.BasicConstraints(True, None),
    ),
}


@pytest.mark.parametrize("extensions", EVIL.values(), ids=EVIL)
def test_request_that_wants_more_gets_only_its_own_name(ca, extensions):
    leaf = x509.load_pem_x509_certificate(
        sign(ca, ca.vault.login(ca.given["orders"]), "orders", ORDERS.spiffe_id, evil(*extensions)).encode()
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [x509.UniformResourceIdentifier(ORDERS.spiffe_id)] == list(names)
    assert len(leaf.subject) == 0
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.BasicConstraints)


def test_weak_or_other_keys_are_refused(ca):
    token = ca.vault.login(ca.given["orders"])
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP224R1())):
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        with pytest.raises(Rejected):
            sign(ca, token, "orders", ORDERS.spiffe_id, request.public_bytes(Encoding.PEM).decode())


def test_broken_request_is_refused(ca):
    token = ca.vault.login(ca.given["orders"])
    for request in ("", "no", leaf_request(new_key())[:200]):
        with pytest.raises(VaultError):
            sign(ca, token, "orders", ORDERS.spiffe_id, request or " ")


def test_role_that_someone_widened_is_noticed_in_the_answer(ca):
    """Vault obeys whoever rules it; we do not serve what was not asked for."""
    operator = ca.bao.operator()
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/roles/orders", {"server_flag": False})
    try:
        with pytest.raises(WrongAnswer, match="extended key usage"):
            issuer(ca).issue(ORDERS)
    finally:
        ca.setup()


def test_role_that_is_gone_is_said(ca):
    operator = ca.bao.operator()
    ca.vault.call(operator, "delete", f"{INT_MOUNT}/roles/orders")
    try:
        with pytest.raises((Missing, Rejected, Denied)):
            issuer(ca).issue(ORDERS)
    finally:
        assert ca.setup() == [f"{INT_MOUNT}/roles/orders"]


def test_wrapped_credentials_are_unwrapped_once(ca):
    """A second unwrapping fails: whoever came first would be noticed."""
    path = "auth/approle/role/mesh-sign-orders/secret-id"
    wrapped = ca.vault.call(ca.bao.operator(), "post", path, {}, wrap_ttl=60)["wrap_info"]["token"]
    assert "secret_id" in ca.vault.unwrap(wrapped)
    with pytest.raises((Rejected, Denied)):
        ca.vault.unwrap(wrapped)
