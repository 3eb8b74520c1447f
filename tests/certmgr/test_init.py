"""`legation certs init` and `doctor`, as an operator runs them, on a real OpenBao over TLS."""

import json
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.layout import INT_MOUNT, MAKE_ROOT, ROOT_MOUNT
from certmgr.core.plan import IdentitySpec
from certmgr.core.policies import INIT_POLICY
from certmgr.issue.issuer import Issuer
from certmgr.issue.setup import Enroller, root_of
from certmgr.issue.vault import AppRole, Rejected
from legation.runtime.clock import WallClock
from tests.certmgr.authority import Authority
from tests.certmgr.team import COMMAND, IS_VAULT, PRODUCT, ROOT, Team, team
from tests.support.command import legation

MESH = "mesh: shop\ntrust_domain: shop.local\nservices:\n  web: {protocol: http, port: 80}\n"

DIFFERS, AUDITED = (
    ("Vault before 1.19 ignores that", "audit enable file file_path")
    if IS_VAULT
    else ("audit devices in its configuration file alone", "options { file_path")
)
"""What is said of the server that the team has."""


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with team(tmp_path_factory.mktemp("team")) as server:
        (server.folder / "mesh.yaml").write_text(MESH)
        yield server


class Operator:
    """Somebody with a terminal, a token and nothing else."""

    def __init__(self, there: Team) -> None:
        self.there, self.token = there, there.operator()

    def __call__(self, command: str, *words: str, token: str | None = None) -> "subprocess.CompletedProcess[str]":
        vault = ("--vault", self.there.url, "--vault-ca", str(self.there.ca))
        home = self.there.folder
        env = {"HOME": str(home), "VAULT_TOKEN": token or self.token, "COLUMNS": "200"}
        return legation("certs", command, *vault, *words, folder=home, env=env)


@pytest.fixture(scope="module")
def operator(there):
    return Operator(there)


def test_plan_is_shown_and_nothing_is_done_before_yes(there, operator):
    before = there.vault.keys(ROOT, "sys/policies/acl")
    for words, code in ((("--dry-run",), 3), ((), 2)):
        done = operator("init", *words)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert "+ sys/mounts/mesh-int" in done.stdout
        assert "+ sys/policies/acl/mesh-enrol" in done.stdout
        assert "(after auth/mesh-services)" in done.stdout
        assert f"is {PRODUCT}" in done.stderr
        assert DIFFERS in done.stderr
    assert before == there.vault.keys(ROOT, "sys/policies/acl")
    assert f"{INT_MOUNT}/" not in there.vault.read(ROOT, "sys/mounts")


def test_plan_is_done_once_and_a_host_enrols_with_what_it_writes(there, operator):
    """With a policy of the operator's that the docs name; the token is in no file that it leaves."""
    file = there.folder / "host.json"
    done = operator("init", "--yes", "--host", str(file))
    assert done.returncode == 0, done.stderr
    root = root_of(there.vault)
    assert "CN=Legation root of shop" in root.subject.rfc4514_string()
    again = operator("init", "--yes")
    assert (again.returncode, again.stdout) == (0, "")
    assert "there is nothing to do" in again.stderr

    given = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    secret = there.vault.unwrap(given["wrapped_secret_id"])
    with pytest.raises(Rejected):
        there.vault.unwrap(given["wrapped_secret_id"])
    resident = there.vault.login(AppRole(given["role_id"], secret["secret_id"]))
    credentials = Enroller(there.vault, resident).deliver("web")
    issuer = Issuer(there.vault, Kept(credentials, root), WallClock(), lambda: None)
    issuer.issue(IdentitySpec("web", "spiffe://shop.local/web", 60))

    left = [f for f in there.folder.rglob("*") if f.is_file() and operator.token.encode() in f.read_bytes()]
    assert [] == left


def test_the_gateways_hosts_are_in_the_plan_and_the_role_is_for_them_alone(there, operator):
    """And a mesh that has none takes the role away again."""
    site = "{port: 443, hosts: [shop.test], tls: {issuer: certmgr}}"
    (there.folder / "edge.yaml").write_text(MESH.replace("port: 80}", f"port: 80, expose: {site}}}"))
    asked = ("init", "-f", "edge.yaml", "-o", "json")
    plan = {step["path"]: step for step in json.loads(operator(*asked, "--dry-run").stdout)["steps"]}
    assert plan[f"{INT_MOUNT}/roles/edge"]["changes"]["allowed_domains"] == [None, '["shop.test"]']
    assert {"sys/auth/mesh-edge", "sys/policies/acl/mesh-sign-edge", "sys/policies/acl/mesh-enrol-edge"} <= set(plan)
    assert "sys/policies/acl/mesh-enrol-hosts" not in plan, "no host writes a role there"
    assert operator(*asked, "--yes").returncode == 0
    assert there.vault.read(ROOT, f"{INT_MOUNT}/roles/edge")["allowed_domains"] == ["shop.test"]
    assert operator(*asked, "--dry-run").returncode == 0
    (there.folder / "edge.yaml").write_text((there.folder / "edge.yaml").read_text().replace("shop.test", "b.test"))
    plan = {step["path"]: step for step in json.loads(operator(*asked, "--dry-run").stdout)["steps"]}
    assert plan[f"{INT_MOUNT}/roles/edge"]["changes"] == {"allowed_domains": ['["shop.test"]', '["b.test"]']}
    done = operator("init", "--yes", "-o", "json")
    assert {step["path"]: step["sign"] for step in json.loads(done.stdout)["steps"]} == {
        f"{INT_MOUNT}/roles/edge": "-",
        "auth/approle/role/mesh-enrol": "~",
    }
    assert operator("init", "--dry-run").returncode == 0


class Kept:
    def __init__(self, credentials, root):
        self.given, self.found = credentials, root

    def credentials(self, name):
        return self.given

    def roots(self):
        return (self.found,)


def test_what_was_opened_by_hand_is_found_and_closed(there, operator):
    there.vault.call(ROOT, "patch", f"{INT_MOUNT}/roles/service", {"use_csr_sans": True})
    there.vault.call(ROOT, "post", f"{INT_MOUNT}/config/crl", {"auto_rebuild": False})
    done = operator("init", "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    steps = {step["path"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps[f"{INT_MOUNT}/roles/service"]["changes"] == {"use_csr_sans": ["true", "false"]}
    assert steps[f"{INT_MOUNT}/config/crl"]["sign"] == "~"
    assert not there.vault.read(ROOT, f"{INT_MOUNT}/roles/service")["use_csr_sans"]


def findings(done):
    assert done.returncode == 3, done.stderr
    return {(f["kind"], f["where"]): f for f in json.loads(done.stdout)["findings"]}


def test_doctor_finds_no_fault_but_the_audit_of_what_init_made(there, operator):
    found = findings(operator("doctor", "-o", "json"))
    assert set(found) == {("missing", "sys/audit"), ("over-broad", "policy mesh-init")}
    assert AUDITED in found["missing", "sys/audit"]["fix"]


def test_doctor_names_each_thing_that_is_over_broad_with_its_fix(there, operator):
    broad = f'path "{INT_MOUNT}/*" {{ capabilities = ["create", "update"] }}'
    harmless = (
        f'path "{INT_MOUNT}/*" {{ capabilities = ["read", "list"] }}\npath "secret/*" {{ capabilities = ["update"] }}'
    )
    there.vault.call(ROOT, "post", "sys/policies/acl/too-broad", {"policy": broad})
    there.vault.call(ROOT, "post", "sys/policies/acl/readers", {"policy": harmless})
    there.vault.call(
        ROOT, "post", f"{INT_MOUNT}/roles/any", {"allow_any_name": True, "allowed_uri_sans": ["spiffe://*"]}
    )
    there.vault.call(ROOT, "patch", f"{INT_MOUNT}/roles/service", {"max_ttl": 999999})
    there.vault.call(ROOT, "delete", "sys/policies/acl/mesh-revoke")
    try:
        found = findings(operator("doctor", "-o", "json"))
        role = found["over-broad", f"{INT_MOUNT}/roles/any"]
        assert "allow_any_name=true, allowed_uri_sans=spiffe://*" in role["what"]
        assert role["fix"] == f"{COMMAND} delete mesh-int/roles/any"
        assert "can be every service" in found["over-broad", "policy too-broad"]["what"]
        assert ("over-broad", "policy readers") not in found
        assert found["over-broad", f"{INT_MOUNT}/roles/service"]["what"] == "max_ttl is 999999, and should be 86400"
        missing = found["missing", "sys/policies/acl/mesh-revoke"]
        assert missing["fix"] == f"legation certs init --vault {there.url} --vault-ca {there.ca}"
        table = operator("doctor")
        assert table.returncode == 3
        assert f"{COMMAND} delete mesh-int/roles/any" in table.stdout
    finally:
        there.vault.call(ROOT, "delete", f"{INT_MOUNT}/roles/any")
        for name in ("too-broad", "readers"):
            there.vault.call(ROOT, "delete", f"sys/policies/acl/{name}")
        assert operator("init", "--yes").returncode == 0


def test_doctor_says_what_its_token_may_not_see(there, operator):
    policy = f'path "{INT_MOUNT}/roles" {{ capabilities = ["list"] }}'
    there.vault.call(ROOT, "post", "sys/policies/acl/half", {"policy": policy})
    half = there.vault.call(ROOT, "post", "auth/token/create", {"policies": ["half"]})["auth"]["client_token"]
    try:
        found = findings(operator("doctor", "-o", "json", token=half))
        assert ("unknown", "sys/mounts") in found
        assert ("unknown", f"{INT_MOUNT}/roles") not in found
    finally:
        there.vault.call(ROOT, "delete", "sys/policies/acl/half")


def test_root_of_the_team_signs_the_intermediate(tmp_path):
    """With the rights that the docs name besides; nothing of ours is written where their root is."""
    with team(tmp_path) as server:
        (server.folder / "mesh.yaml").write_text(MESH)
        server.vault.call(ROOT, "post", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        made = {"common_name": "The team's root", "issuer_name": "r26", "ttl": "80000h"}
        server.vault.call(ROOT, "post", f"pki/{MAKE_ROOT}", made)
        reads = 'path "pki/issuer/+" { capabilities = ["read"] }\n'
        signs = 'path "pki/issuer/r26/sign-intermediate" { capabilities = ["update"] }'
        boss = Operator(server)
        denied = boss("init", "--dry-run", "--root", "pki/r26")
        assert denied.returncode == 3
        assert ": get pki/issuer/" in denied.stderr
        assert "the token may not do this" in denied.stderr
        server.vault.call(ROOT, "post", "sys/policies/acl/mesh-init", {"policy": INIT_POLICY + reads + signs})
        missing = boss("init", "--yes", "--root", "pki/other")
        assert missing.returncode == 3
        assert "pki has no issuer called other" in missing.stderr
        done = boss("init", "--yes", "--root", "pki/r26")
        assert done.returncode == 0, done.stderr
        assert root_of(server.vault).subject.rfc4514_string() == "CN=The team's root"
        assert f"{ROOT_MOUNT}/" not in (server.vault.read(ROOT, "sys/mounts") or {})
        assert boss("init", "--dry-run", "--root", "pki/r26").returncode == 0
        assert "--root MOUNT/ISSUER" in boss("doctor", "-o", "json").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--vault", "nowhere"), 2, "a URL is taken"),
        (("--key", "ec-p1"), 2, "one of ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096 is taken"),
        (("--max-ttl", "1"), 2, "a number with its unit"),
        (("--root", "pki"), 2, "MOUNT/ISSUER is taken"),
        (("--vault-ca", "none.pem"), 2, "there is no such file"),
        (("--token-file", "none"), 2, "cannot read none"),
        (("--vault", "https://127.0.0.1:1"), 4, "does not answer"),
        (("-f", "none.yaml"), 2, "cannot read"),
    ],
    ids=str,
)
def test_wrong_words_are_said_before_anything_is_done(operator, words, code, said):
    done = operator("init", "--yes", *words)
    assert code == done.returncode, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_token_that_may_not_is_told_so(there, operator):
    weak = there.vault.call(ROOT, "post", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    done = operator("init", "--yes", token=weak)
    assert done.returncode == 3
    assert "docs/vault.md has the policy that can" in done.stderr


def test_attack_19_untrusted_certificate_is_said_with_its_fix(there):
    boss = Operator(trusting_another(there))
    done = boss("init", "--dry-run")
    assert done.returncode == 4
    assert "its certificate is not trusted; name its CA with --vault-ca FILE" in done.stderr


def trusting_another(there):
    """The same server, whose operator trusts another CA."""
    other = Team(there.url, there.folder / "other-ca.pem", there.folder)
    other.ca.write_bytes(Authority(time.time()).root.public_bytes(Encoding.PEM))
    other.vault = there.vault
    return other
