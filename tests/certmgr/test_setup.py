"""The CA on a real OpenBao: what set-up makes, and what nobody can get out of it."""

import time
from dataclasses import replace
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certmgr.core.layout import INT_MOUNT, ROOT_MOUNT
from certmgr.core.verify import intermediate_faults
from certmgr.issue.csr import leaf_request, new_key
from certmgr.issue.issuer import Issuer, WrongAnswer
from certmgr.issue.setup import Authority, CannotSetUp, Setup
from certmgr.issue.vault import Denied, Missing, Rejected, VaultError, pick
from legation.runtime.clock import WallClock
from tests.certmgr.conftest import AUTHORITY, ORDERS, WEB


class Kept:
    def __init__(self, ca):
        self._ca = ca

    def credentials(self, name):
        return self._ca.given[name]

    def roots(self):
        return (self._ca.root,)


def issuer(ca):
    return Issuer(ca.vault, Kept(ca), WallClock(), lambda: None)


def test_second_set_up_changes_nothing(ca):
    operator = ca.bao.operator()
    before = {path: ca.vault.keys(operator, path) for path in (f"{ROOT_MOUNT}/issuers", f"{INT_MOUNT}/issuers")}
    assert ca.setup() == []
    assert [1, 2] == [len(keys) for keys in before.values()], "a root; an intermediate, and the root beside it"
    assert before == {path: ca.vault.keys(operator, path) for path in before}


def test_intermediate_is_bound_to_the_trust_domain_and_its_key_is_nowhere_else(ca):
    found = ca.vault.read(ca.bao.operator(), f"{INT_MOUNT}/issuer/int-1")
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    assert intermediate_faults(certificate, ca.root, "shop.local", time.time()) == ()
    assert "DEV root of shop" in ca.root.subject.rfc4514_string()


def test_half_done_set_up_is_adopted(ca):
    """It died between import and naming: the nameless issuer gets its name back, no second one is made."""
    operator = ca.bao.operator()
    before = ca.vault.keys(operator, f"{INT_MOUNT}/issuers")
    signer = pick(ca.vault.read(operator, f"{INT_MOUNT}/issuer/int-1"), "issuer_id")
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/issuer/{signer}", {"issuer_name": ""})
    assert ca.setup() == [f"~{INT_MOUNT}/issuer/{signer}"]
    assert ca.vault.keys(operator, f"{INT_MOUNT}/issuers") == before


def test_other_trust_domain_is_refused_not_mixed_in(ca):
    with pytest.raises(CannotSetUp, match=r"not bound to the trust domain other\.local"):
        Setup(ca.vault, ca.bao.operator()).run(Authority("shop", "other.local"), time.time())


def test_role_that_was_opened_by_hand_is_closed_again(ca):
    operator = ca.bao.operator()
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/roles/service", {"allow_any_name": True, "use_csr_sans": True})
    assert ca.setup() == [f"~{INT_MOUNT}/roles/service"]


def test_new_service_needs_no_operator(ca):
    """The host's own credential enrols it, it signs at once, and when it leaves it can sign no more."""
    ca.given["payments"] = ca.enroller().deliver("payments")
    payments = replace(ORDERS, name="payments", spiffe_id="spiffe://shop.local/payments")
    issuer(ca).issue(payments)
    ca.enroller().remove("payments")
    with pytest.raises(Rejected):
        ca.vault.login(ca.given["payments"])


def test_component_signs_its_own_name_alone(ca):
    given = ca.given["legation-xds-server"] = ca.enroller().deliver("legation-xds-server")
    issuer(ca).issue(replace(ORDERS, name="legation-xds-server", spiffe_id="spiffe://shop.local/legation/xds-server"))
    with pytest.raises(Rejected):
        sign(ca, ca.vault.login(given), "component", "spiffe://shop.local/legation/gateway")


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
        ("sign/service", WEB.spiffe_id),
        ("sign/service", "spiffe://shop.local/legation/xds-server"),
        ("sign/service", "spiffe://shop.local/*"),
        ("sign/service", "spiffe://other.local/orders"),
        ("sign/component", ORDERS.spiffe_id),
        ("sign/component", "spiffe://shop.local/legation/orders"),
        ("sign-verbatim", ORDERS.spiffe_id),
        ("sign-verbatim/service", ORDERS.spiffe_id),
        ("issue/service", ORDERS.spiffe_id),
        ("issuer/int-1/sign/service", ORDERS.spiffe_id),
        ("issuer/int-1/sign-verbatim", ORDERS.spiffe_id),
        ("roles/service", ORDERS.spiffe_id),
        ("root/generate/internal", ORDERS.spiffe_id),
        ("config/issuers", ORDERS.spiffe_id),
    ],
)
def test_attack_07_token_of_a_service_signs_its_own_name_by_its_own_role_alone(ca, path, uri):
    token = ca.vault.login(ca.given["orders"])
    body = {"csr": leaf_request(new_key()), "uri_sans": uri, "ttl": "60s"}
    with pytest.raises(Rejected if path == "sign/service" else Denied):
        ca.vault.call(token, "post", f"{INT_MOUNT}/{path}", body)


@pytest.mark.parametrize(
    "more",
    [{"alt_names": "a.example"}, {"ip_sans": "10.0.0.1"}, {"not_after": "2040-01-01T00:00:00Z"}, {"common_name": "x"}],
)
def test_token_of_a_service_may_ask_for_nothing_more(ca, more):
    token = ca.vault.login(ca.given["orders"])
    with pytest.raises(Denied):
        sign(ca, token, "service", ORDERS.spiffe_id, **more)


def evil(*extensions):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin.example")])
    builder = x509.CertificateSigningRequestBuilder(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def gets_only_its_own_name(ca, *extensions):
    leaf = x509.load_pem_x509_certificate(
        sign(ca, ca.vault.login(ca.given["orders"]), "service", ORDERS.spiffe_id, evil(*extensions)).encode()
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [x509.UniformResourceIdentifier(ORDERS.spiffe_id)] == list(names)
    assert len(leaf.subject) == 0
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.BasicConstraints)


def names(*found):
    return x509.SubjectAlternativeName(found)


def test_attack_02_request_for_anothers_uri_gets_its_own(ca):
    gets_only_its_own_name(ca, names(x509.UniformResourceIdentifier(WEB.spiffe_id)))


@pytest.mark.parametrize(
    "more",
    [
        x509.DNSName("admin.example"),
        x509.IPAddress(ip_address("10.0.0.1")),
        x509.RFC822Name("admin@admin.example"),
        x509.UniformResourceIdentifier(ORDERS.spiffe_id),
    ],
    ids=lambda more: type(more).__name__,
)
def test_attack_03_names_of_any_other_kind_are_dropped(ca, more):
    gets_only_its_own_name(ca, names(more, x509.DNSName("a.example")))


def test_attack_04_request_to_be_a_ca_gets_a_leaf(ca):
    signs = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    gets_only_its_own_name(ca, x509.BasicConstraints(True, None), signs)


def test_attack_24_leaf_is_dated_back_a_minute_for_peers_whose_clock_is_behind(ca):
    leaf = sign(ca, ca.vault.login(ca.given["orders"]), "service", ORDERS.spiffe_id)
    begins = x509.load_pem_x509_certificate(leaf.encode()).not_valid_before_utc.timestamp()
    assert 58 <= time.time() - begins <= 120


def test_attack_05_weak_or_other_keys_are_refused(ca):
    token = ca.vault.login(ca.given["orders"])
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP224R1())):
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        with pytest.raises(Rejected):
            sign(ca, token, "service", ORDERS.spiffe_id, request.public_bytes(Encoding.PEM).decode())


def test_attack_06_broken_request_is_refused(ca):
    token = ca.vault.login(ca.given["orders"])
    for request in ("", "no", leaf_request(new_key())[:200]):
        with pytest.raises(VaultError):
            sign(ca, token, "service", ORDERS.spiffe_id, request or " ")


def test_attack_18_role_that_someone_widened_is_noticed_in_the_answer(ca):
    """Vault obeys whoever rules it; we do not serve what was not asked for."""
    operator = ca.bao.operator()
    ca.vault.call(operator, "patch", f"{INT_MOUNT}/roles/service", {"server_flag": False})
    try:
        with pytest.raises(WrongAnswer, match="extended key usage"):
            issuer(ca).issue(ORDERS)
    finally:
        ca.setup()


def test_role_that_is_gone_is_said(ca):
    operator = ca.bao.operator()
    ca.vault.call(operator, "delete", f"{INT_MOUNT}/roles/service")
    try:
        with pytest.raises((Missing, Rejected, Denied)):
            issuer(ca).issue(ORDERS)
    finally:
        assert ca.setup() == [f"+{INT_MOUNT}/roles/service"]


def test_wrapped_credentials_are_unwrapped_once(ca):
    """A second unwrapping fails: whoever came first would be noticed."""
    path = "auth/mesh-services/role/orders/secret-id"
    wrapped = ca.vault.call(ca.resident(), "post", path, {}, wrap_ttl=60)["wrap_info"]["token"]
    assert "secret_id" in ca.vault.unwrap(wrapped)
    with pytest.raises((Rejected, Denied)):
        ca.vault.unwrap(wrapped)


@pytest.mark.parametrize(("key", "kind"), [("ec-p384", "secp384r1"), ("rsa-2048", 2048), ("ec-p256", "secp256r1")])
def test_team_decides_for_the_kind_of_key_and_it_is_followed_at_the_next_issue(ca, key, kind):
    """A certmgr that knows the old wish is refused once, and asks anew: nobody restarts anything."""
    signing = issuer(ca)
    signing.issue(ORDERS)
    try:
        Setup(ca.vault, ca.bao.operator()).run(replace(AUTHORITY, key=key), time.time())
        made = signing.issue(ORDERS).key
        found = made.curve.name if isinstance(made, ec.EllipticCurvePrivateKey) else made.key_size
        assert found == kind
    finally:
        ca.setup()


def test_key_that_cannot_be_made_is_said(ca):
    ca.vault.call(ca.bao.operator(), "patch", f"{INT_MOUNT}/roles/service", {"key_type": "ed25519", "key_bits": 0})
    try:
        with pytest.raises(WrongAnswer, match="the role wants ed25519 keys"):
            issuer(ca).issue(ORDERS)
    finally:
        ca.setup()
