"""Each way for a host to log in, on a real OpenBao over TLS: what it needs, what it refuses, what it reads anew."""

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certmgr.core.bundle import Damaged, render
from certmgr.core.plan import IdentitySpec
from certmgr.issue.auth import Intercepted, Method, enter
from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.setup import Authority, Setup, root_of
from certmgr.issue.vault import Token, Unreachable
from certmgr.store import Store
from legation.runtime.clock import WallClock
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from tests.certmgr.authority import Authority as Ca
from tests.certmgr.authority import new_key
from tests.certmgr.host import Certmgr, mesh
from tests.certmgr.team import ROOT, Team, team

RIGHTS = {"token_policies": ["mesh-enrol"], "token_ttl": "10m", "token_type": "batch"}


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with team(tmp_path_factory.mktemp("team")) as server:
        Setup(server.vault, ROOT).run(Authority("shop", "shop.local"), time.time())
        yield server


def secret(path, text):
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def way(there: Team, kind, file, kept=None):
    return enter(there.vault, Method.of(kind, str(file), "", ""), kept or file.with_name("kept.json"))


def may_enrol(there: Team, token: Token) -> bool:
    return there.vault.keys(token, "auth/mesh-services/role") is not None


def wrapped(there: Team, seconds=60) -> str:
    role_id, token = Setup(there.vault, ROOT).host_credentials(seconds)
    return json.dumps({"role_id": role_id, "wrapped_secret_id": token})


def test_wrapped_secret_id_is_unwrapped_once_and_kept(there, tmp_path):
    """A restart logs in with what was kept; a new file is taken in its place."""
    file, kept = secret(tmp_path / "host.json", wrapped(there)), tmp_path / "kept.json"
    assert may_enrol(there, way(there, "approle", file, kept)())
    first = kept.read_text()
    assert may_enrol(there, way(there, "approle", file, kept)())
    assert (first, kept.stat().st_mode & 0o777) == (kept.read_text(), 0o600)
    file.write_text(wrapped(there))
    assert may_enrol(there, way(there, "approle", file, kept)())
    assert first != kept.read_text()


def test_attack_13_secret_id_that_was_unwrapped_before_is_an_alarm(there, tmp_path):
    file = secret(tmp_path / "host.json", wrapped(there))
    there.vault.unwrap(json.loads(file.read_text())["wrapped_secret_id"])
    with pytest.raises(Intercepted, match=r"unwrapped before.*destroy the secret ids of auth/approle/role/mesh-enrol"):
        way(there, "approle", file)()
    assert not (tmp_path / "kept.json").exists()


def test_wrapped_thing_that_was_made_elsewhere_is_an_alarm(there, tmp_path):
    """Somebody slips in what he made himself: it is not even unwrapped."""
    other = there.vault.call(ROOT, "post", "sys/wrapping/wrap", {"secret_id": "x"}, wrap_ttl=60)["wrap_info"]["token"]
    file = secret(tmp_path / "host.json", json.dumps({"role_id": "r", "wrapped_secret_id": other}))
    with pytest.raises(Intercepted, match="made at sys/wrapping/wrap"):
        way(there, "approle", file)()
    assert there.vault.unwrap(other) == {"secret_id": "x"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"role_id": 1, "secret_id": "canary"}', '{"secret_id": "canary"}'])
def test_file_without_an_approle_is_said_and_not_quoted(there, tmp_path, text):
    with pytest.raises(Damaged) as caught:
        way(there, "approle", secret(tmp_path / "host.json", text))()
    assert "canary" not in str(caught.value)
    with pytest.raises(Damaged, match="is not there"):
        way(there, "approle", tmp_path / "none.json")()


def made(there: Team, **more) -> str:
    asked = {"policies": ["mesh-enrol"], "ttl": "10m", **more}
    return str(there.vault.call(ROOT, "post", "auth/token/create", asked)["auth"]["client_token"])


def test_token_of_a_file_is_renewed_and_read_anew(there, tmp_path):
    file = secret(tmp_path / "token", made(there, period="2m"))
    token = way(there, "token", file)()
    assert may_enrol(there, token)
    assert 115 <= token.lease <= 120
    file.write_text(made(there, renewable=False, ttl="5m"))
    assert 295 <= way(there, "token", file)().lease <= 300
    file.write_text("canary")
    with pytest.raises(LoginRefused, match="not \\(or no longer\\) good") as caught:
        way(there, "token", file)()
    assert "canary" not in str(caught.value)


def test_attack_15_token_whose_renewal_ends_is_replaced_before(there, tmp_path):
    """A renewal near `max_ttl` succeeds with what is left: the next login is at half of that, with the new file."""

    class Clock:
        time = time.time()

        def now(self):
            return self.time

    clock, file = Clock(), secret(tmp_path / "token", made(there, explicit_max_ttl="40s"))
    login = Login(way(there, "token", file), clock)
    first = login.call(lambda token: token)
    assert 30 < first.lease <= 40
    file.write_text(made(there))
    clock.time += first.lease / 2 + 1
    assert first.value != login.call(lambda token: token.value)


def test_attack_14_login_that_fails_at_half_of_a_life_leaves_the_old_token_to_its_end(there):
    """Vault is away for a while: no gap, and the login is tried again soon."""

    class Clock:
        time = 1000.0

        def now(self):
            return self.time

    given, clock = [Token("one", 100)], Clock()
    told: list[str] = []

    def enter_once():
        if not given:
            raise Unreachable("away")
        return given.pop()

    login = Login(enter_once, clock, told.append)
    assert login.call(lambda token: token.value) == "one"
    clock.time += 60
    assert login.call(lambda token: token.value) == "one"
    given.append(Token("two", 100))
    clock.time += 11
    assert login.call(lambda token: token.value) == "two"
    clock.time += 101
    with pytest.raises(Unreachable):
        login.call(lambda token: token)
    assert told == ["ok", "failed", "ok", "failed"]


def jwt(key: ec.EllipticCurvePrivateKey, **claims) -> str:
    """A JWT, signed as ES256 (RFC 7515, 7518 §3.4)."""

    def coded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    body = {"iss": "ci", "sub": "host-a", "aud": ["vault"], "iat": now, "nbf": now - 5, "exp": now + 300, **claims}
    head = coded(json.dumps({"alg": "ES256", "typ": "JWT"}).encode()) + "." + coded(json.dumps(body).encode())
    r, s = decode_dss_signature(key.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{head}.{coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def test_jwt(there, tmp_path):
    """The one that is asked for, of the issuer that is trusted, and no other; the file is read at each login."""
    key = new_key()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    there.vault.call(ROOT, "post", "sys/auth/jwt", {"type": "jwt"})
    there.vault.call(ROOT, "post", "auth/jwt/config", {"jwt_validation_pubkeys": [public], "bound_issuer": "ci"})
    bound = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "bound_subject": "host-a"}
    there.vault.call(ROOT, "post", "auth/jwt/role/mesh-enrol", {**bound, **RIGHTS})
    file = secret(tmp_path / "jwt", jwt(key))
    log_in = way(there, "jwt", file)
    token = log_in()
    assert may_enrol(there, token)
    assert token.lease == 600
    for wrong in (jwt(key, sub="host-b"), jwt(key, exp=int(time.time()) - 900), jwt(new_key()), "x.y.z"):
        file.write_text(wrong)
        with pytest.raises(LoginRefused) as caught:
            log_in()
        assert wrong not in str(caught.value)
    file.write_text(jwt(key))
    assert may_enrol(there, log_in())


@contextmanager
def cluster(folder, good: str):
    """An API server of Kubernetes, as far as Vault needs it: TokenReview, over TLS."""
    import ipaddress

    from cryptography import x509

    ca = Ca(time.time())
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    bundle = ca.issue(IdentitySpec("api", "spiffe://x/api", 3600), names=names)
    (folder / "api.pem").write_bytes(render(bundle))
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            token = review["spec"]["token"]
            seen.append((self.path, self.headers["authorization"], token))
            groups = ["system:serviceaccounts", "system:serviceaccounts:mesh", "system:authenticated"]
            user = {"username": "system:serviceaccount:mesh:certmgr", "uid": "u-1", "groups": groups}
            known = {"user": user, "audiences": review["spec"].get("audiences", [])}
            status = {"authenticated": token == good, **(known if token == good else {"error": "no"})}
            text = json.dumps({"kind": "TokenReview", "status": status}).encode()
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "api.pem")
    http.socket = context.wrap_socket(http.socket, server_side=True)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{http.server_port}", ca.root.public_bytes(Encoding.PEM).decode(), seen
    finally:
        http.shutdown()
        http.server_close()


def test_kubernetes(there, tmp_path):
    """Vault asks the cluster whose the service account's token is; one that the cluster does not know is refused."""
    claims = {"kubernetes.io": {"namespace": "mesh", "serviceaccount": {"name": "certmgr", "uid": "u-1"}}}
    mine = jwt(new_key(), sub="system:serviceaccount:mesh:certmgr", **claims)
    with cluster(tmp_path, mine) as (url, ca, seen):
        there.vault.call(ROOT, "post", "sys/auth/kubernetes", {"type": "kubernetes"})
        config = {"kubernetes_host": url, "kubernetes_ca_cert": ca, "token_reviewer_jwt": jwt(new_key())}
        there.vault.call(ROOT, "post", "auth/kubernetes/config", {**config, "disable_local_ca_jwt": True})
        bound = {"bound_service_account_names": ["certmgr"], "bound_service_account_namespaces": ["mesh"]}
        there.vault.call(ROOT, "post", "auth/kubernetes/role/mesh-enrol", {**bound, **RIGHTS})
        file = secret(tmp_path / "token", mine)
        file.chmod(0o644)  # as a kubelet writes it
        log_in = way(there, "kubernetes", file)
        assert may_enrol(there, log_in())
        assert seen[-1][0] == "/apis/authentication.k8s.io/v1/tokenreviews"
        file.write_text(jwt(new_key(), sub="system:serviceaccount:mesh:certmgr", **claims))
        with pytest.raises(LoginRefused):
            log_in()
        assert len(seen) == 2


def test_certificate(there, tmp_path):
    """A client certificate of the CA that Vault knows; a replaced file takes effect at the next login."""
    ca, other = Ca(time.time()), Ca(time.time())
    there.vault.call(ROOT, "post", "sys/auth/cert", {"type": "cert"})
    trusted = ca.intermediate.public_bytes(Encoding.PEM).decode()
    there.vault.call(ROOT, "post", "auth/cert/certs/mesh-enrol", {"certificate": trusted, **RIGHTS})
    spec = IdentitySpec("host-a", "spiffe://shop.local/host-a", 3600)
    file = secret(tmp_path / "host.pem", render(ca.issue(spec, called="host-a")).decode())
    log_in = way(there, "cert", file)
    assert may_enrol(there, log_in())
    file.write_bytes(render(other.issue(spec, called="host-a")))
    with pytest.raises(LoginRefused):
        log_in()
    file.write_bytes(render(ca.issue(spec, called="host-a")))
    assert may_enrol(there, log_in())
    file.chmod(0o644)
    with pytest.raises(Damaged, match="chmod it to 0600"):
        log_in()
    file.unlink()
    with pytest.raises(Damaged, match="is not there"):
        log_in()


def host_on(there: Team, root, *words, text="") -> Certmgr:
    """A certmgr on a new host that knows its mesh and is told where Vault is."""
    folder = StateFolder(root)
    folder.make()
    with Store(folder.certmgr).lock():
        Store(folder.certmgr).save_mesh(text or mesh(dev="false"))
    certmgr = Certmgr(folder)
    certmgr.start("--vault-address", there.url, "--vault-ca", str(there.ca), *words)
    return certmgr


def test_host_comes_up_with_the_file_that_init_wrote(there, tmp_path):
    """And again without it: the wrapping token is spent, what was in it is kept."""

    async def main():
        file = secret(tmp_path / "host.json", wrapped(there))
        certmgr = host_on(there, tmp_path / "s", "--vault-credentials", str(file))
        try:
            status = await certmgr.ready()
            assert status.vault == "ok"
            assert Store(certmgr.folder.certmgr).roots() == (root_of(there.vault),)
            assert 'certmgr_vault_logins_total{outcome="ok"} 1.0' in await certmgr.metrics()
            before = {i.name: i.serial for i in status.identities}
            assert await certmgr.stop() == 0
            certmgr.start("--vault-address", there.url, "--vault-ca", str(there.ca), "--vault-credentials", str(file))
            assert before == {i.name: i.serial for i in (await certmgr.ready()).identities}
        finally:
            certmgr.kill()

    asyncio.run(main())


def test_host_whose_file_was_unwrapped_on_its_way_raises_an_alarm(there, tmp_path):
    async def main():
        file = secret(tmp_path / "host.json", wrapped(there))
        there.vault.unwrap(json.loads(file.read_text())["wrapped_secret_id"])
        certmgr = host_on(there, tmp_path / "s", "--vault-credentials", str(file))
        try:

            async def said():
                status = await certmgr.status()
                return status is not None and any(i.error and "unwrapped before" in i.error for i in status.identities)

            assert await until(said, 20), certmgr.log.read_text()
            assert 'certmgr_alarms_total{kind="wrapped_secret_id"} 1.0' in await certmgr.metrics()
            assert "ALARM: SecretID may be intercepted" in certmgr.log.read_text()
        finally:
            certmgr.kill()

    asyncio.run(main())


def test_attack_35_root_for_trying_things_out_is_refused_in_a_vault_of_a_team(tmp_path):
    async def main():
        with team(tmp_path) as server:
            Setup(server.vault, ROOT).run(Authority("shop", "shop.local", dev=True), time.time())
            file = secret(tmp_path / "token", made(server))
            words = ("--vault-auth", "token", "--vault-credentials", str(file))
            certmgr = host_on(server, tmp_path / "s", *words)
            try:

                async def said():
                    status = await certmgr.status()
                    errors = () if status is None else [i.error for i in status.identities]
                    return any(
                        error and "DEV root of shop, which is for trying things out" in error for error in errors
                    )

                assert await until(said, 20), certmgr.log.read_text()
                assert Store(certmgr.folder.certmgr).roots() == ()
                Store(certmgr.folder.certmgr).save_mesh(mesh())
                certmgr.kill()
                certmgr.start("--vault-address", server.url, "--vault-ca", str(server.ca), *words)
                await certmgr.ready()
            finally:
                certmgr.kill()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--vault-auth", "ldap"), "'ldap' is no way to log in: approle, token, jwt, kubernetes, cert are"),
        (("--vault-auth", "jwt"), "--vault-auth jwt needs --vault-credentials FILE"),
    ],
)
def test_settings_that_make_no_sense_end_it_with_what_would(tmp_path, words, said):
    argv = [sys.executable, "-m", "certmgr", "--state", str(tmp_path), "--vault-address", "https://v", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (1, f"certmgr: {said}\n")


def test_login_of_the_clock_is_the_wall(there, tmp_path):
    """Every way is a `Login` in the service: tokens are reused while they are young."""
    file = secret(tmp_path / "token", made(there))
    count: list[str] = []
    login = Login(way(there, "token", file), WallClock(), count.append)
    assert len({login.call(lambda token: token.value) for _ in range(3)}) == 1
    assert count == ["ok"]
