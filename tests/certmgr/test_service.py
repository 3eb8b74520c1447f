"""certmgr as a process, on a real OpenBao: what it does when it starts, and when what it needs dies."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import psutil
import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from certmgr.core.plan import IdentitySpec
from certmgr.core.schedule import BACKDATE
from certmgr.issue.issuer import Issuer
from certmgr.issue.vault import AWAY, AppRole, Rejected, Token, Vault, VaultError
from certmgr.store import Store
from legation.runtime.clock import WallClock
from legation.runtime.control.messages import CertmgrStatus
from legation.runtime.identity import Identity as Presented
from legation.runtime.identity import follow
from legation.runtime.tasks import Latest, patiently, until
from tests.certmgr.host import NAMES, Host, document, host, mesh, xds_server
from tests.support.programs import eventually


def serials(status: CertmgrStatus) -> dict[str, str | None]:
    return {identity.name: identity.serial for identity in status.identities}


@pytest.fixture
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="module")
def running(tmp_path_factory, seed):
    """One host for all tests that leave it as they found it; it knows its mesh from before."""
    this = Host(tmp_path_factory.mktemp("h"), seed)
    this.certmgr.afresh = True
    Store(this.folder.certmgr).save_mesh(mesh())
    this.bao.start()
    this.certmgr.start()
    asyncio.run(this.certmgr.ready())
    yield this
    this.certmgr.kill()
    this.bao.kill()


@pytest.fixture
def here(running):
    """That host, ready."""
    asyncio.run(running.certmgr.ready())
    return running


@pytest.fixture(scope="module")
def snapshot(running, tmp_path_factory):
    """A copy of that host's state folder, for tests that leave theirs in another state."""
    running.bao.kill()
    copy = tmp_path_factory.mktemp("snapshot") / "s"
    shutil.copytree(running.folder.root, copy, ignore=shutil.ignore_patterns("run", "*.log"))
    running.bao.start()
    return copy


def leads(vault: Vault) -> bool:
    """Whether a server takes writes, as a login is one: just after its start it says that it is well, and does not."""
    try:
        vault.login(AppRole("nobody", "nothing", "approle"))
    except Rejected:
        return True
    except VaultError:
        return False
    raise AssertionError


@asynccontextmanager
async def restored(snapshot, state, text):
    """A host that has been ready before: its OpenBao serves, its certmgr is not there yet."""
    shutil.copytree(snapshot, state, dirs_exist_ok=True)
    this = Host(state)
    try:
        async with xds_server(this.folder, text) as latest:
            this.bao.start()

            async def serves():
                return await asyncio.to_thread(leads, this.bao.vault)

            assert await until(serves, 20), this.bao.log.read_text()[-2000:]
            yield this, latest
    finally:
        this.certmgr.kill()
        this.bao.kill()


def test_everything_starts_together_and_becomes_ready(here):
    """Nobody waits for anybody in an order; each identity is on its own socket, and is what it says."""

    async def main():
        status = await here.certmgr.ready()
        assert status.vault == "ok"
        assert 0 < status.seconds_to_outage <= 600
        for name in NAMES:
            shown = await here.certmgr.presented(name)
            assert serials(status)[name] == shown.serial
            leaf, above = x509.load_pem_x509_certificates(shown.certificate_chain)
            root = x509.load_pem_x509_certificate(shown.trust_bundle)
            above.verify_directly_issued_by(root)
            leaf.verify_directly_issued_by(above)
            uris = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            path = name.replace("legation-", "legation/")
            assert list(uris) == [x509.UniformResourceIdentifier(f"spiffe://shop.local/{path}")]
            assert "DEV" in root.subject.rfc4514_string()
            assert here.folder.sds(name).stat().st_mode & 0o777 == 0o600
        assert await here.certmgr.stop() == 0
        here.certmgr.start()

    asyncio.run(main())


def test_killed_certmgr_serves_at_once_and_issues_nothing_again(here):
    """Neither OpenBao nor xds_server is there when it comes back."""

    async def main():
        before = serials(await here.certmgr.ready())
        here.certmgr.kill()
        here.bao.kill()
        here.certmgr.start()
        status = await here.certmgr.ready()
        assert before == serials(status)
        assert status.vault != "ok"
        assert before["orders"] == (await here.certmgr.presented("orders")).serial
        here.bao.start()
        assert await until(lambda: vault_is(here, "ok"), 20)
        assert before == serials(await here.certmgr.ready())

    asyncio.run(main())


async def vault_is(here: Host, state: str) -> bool:
    status = await here.certmgr.status()
    return status is not None and status.vault == state


def test_attack_16_dead_openbao_is_waited_out(here):
    """While it is dead the old certificate is served and the error is said; then renewal works by itself."""

    async def main():
        before = serials(await here.certmgr.ready())
        here.bao.kill()
        failed = await here.certmgr.renew("orders")
        assert "does not answer" in failed.error
        assert before["orders"] == failed.serial == (await here.certmgr.presented("orders")).serial
        assert await until(lambda: vault_is(here, "unreachable"), 10)
        assert (await here.certmgr.status()).seconds_to_outage > 0
        here.bao.start()

        async def renewed():
            identity = next(i for i in (await here.certmgr.status()).identities if i.name == "orders")
            return identity.serial != before["orders"] and identity.error is None

        assert await until(renewed, 30), here.certmgr.log.read_text()[-2000:]

    asyncio.run(main())


def test_certmgr_killed_while_it_starts_completes_later(state, seed):
    """Whatever step it died in, the next life goes on from there."""

    async def main():
        async with host(state, mesh(), seed) as (here, _):
            kept = here.folder.certmgr
            for step in (kept / "mesh.yaml", here.folder.openbao() / "used", kept / "enrol.json", kept / "root.pem"):
                await eventually(f"it has got to {step.name}", step.exists)
                here.certmgr.kill()
                here.certmgr.start()
            await here.certmgr.ready()
            issuers = here.bao.vault.keys(Token("", 0), "mesh-int/issuers")
            assert len(issuers) == 2, "the intermediate, and the root above it"
            left = [*here.folder.openbao().glob("init.*"), *here.folder.openbao().glob("operator.*")]
            assert [] == left

    asyncio.run(main())


def test_mesh_changes_are_followed(snapshot, state):
    """A new service gets an identity, one that left loses its socket, its key and its role, a shorter life is taken."""

    async def main():
        async with restored(snapshot, state, mesh()) as (here, latest):
            here.certmgr.start()
            first = serials(await here.certmgr.ready())
            latest.set(document(mesh("5m", ("orders", "payments"))))
            now = ("orders", "payments", *NAMES[2:])
            await here.certmgr.ready(names=now)

            async def shortened():
                found = {i.name: i for i in (await here.certmgr.status()).identities}
                return all(i.not_after and i.not_before and i.not_after - i.not_before <= 362 for i in found.values())

            assert await until(shortened, 20)
            status = await here.certmgr.status()
            assert status is not None
            assert serials(status)["orders"] != first["orders"]
            assert await until(lambda: gone(here, "web"), 5)
            assert not (here.folder.certmgr / "identities" / "web.pem").exists()
            assert await until(lambda: enrolled(here, ("orders", "payments")), 5)
            assert not (here.folder.certmgr / "approle" / "web.json").exists()

    asyncio.run(main())


async def enrolled(here: Host, names: tuple[str, ...]) -> bool:
    return here.bao.vault.keys(here.resident(), "auth/mesh-services/role") == names


async def gone(here: Host, name: str) -> bool:
    return not here.folder.sds(name).exists()


def test_attack_32_forced_renewals_pile_into_few(here):
    """Renewals that are asked for together each see a certificate that was issued after they asked."""

    async def main():
        before = serials(await here.certmgr.ready())
        answers = await asyncio.gather(*(here.certmgr.renew("orders") for _ in range(5)))
        assert all(answer.serial != before["orders"] and answer.error is None for answer in answers)
        assert (await here.certmgr.presented("orders")).serial in {answer.serial for answer in answers}
        with pytest.raises(Exception, match="404"):
            await here.certmgr.renew("nobody")

    asyncio.run(main())


def test_certificates_are_renewed_at_half_of_their_life(snapshot, state):
    """One of ten seconds that the host had before: a stream that stays open sees the next; no other is issued."""

    async def main():
        async with restored(snapshot, state, mesh()) as (here, _):
            store = Store(here.folder.certmgr)
            issuer = Issuer(here.bao.vault, store, WallClock(), lambda: None)
            wish = IdentitySpec("web", "spiffe://shop.local/web", 10)
            # a server that has no processor for long leads no more for a moment
            short = await patiently(partial(asyncio.to_thread, issuer.issue, wish), 20, transient=AWAY)
            store.save_bundle("web", short)
            before = {name: store.bundle(name).serial for name in NAMES}
            here.certmgr.start()
            shown: Latest[Presented | None] = Latest(None)
            await eventually("it serves", here.folder.sds("web").exists)
            stream = asyncio.ensure_future(follow(here.folder.sds("web"), "web-1", shown))

            async def renewed():
                return shown.value is not None and shown.value.serial != short.serial

            assert await until(renewed, 40)
            stream.cancel()
            status = await here.certmgr.ready()
            assert {name for name in NAMES if serials(status)[name] != before[name]} == {"web"}
            lives = {i.name: (i.not_before + BACKDATE, i.renew_at, i.not_after) for i in status.identities}
            assert all(0.39 <= (due - start) / (end - start) <= 0.61 for start, due, end in lives.values()), lives
            assert lives["web"][0] >= short.life[0] + BACKDATE + 4

    asyncio.run(main())


def test_attack_35_dev_that_is_taken_out_of_a_running_mesh_is_said_and_cuts_nobody_off(snapshot, state):
    """What is there is renewed; a new service gets nothing."""

    async def main():
        text = mesh(dev="false", services=("orders", "web", "payments"))
        async with restored(snapshot, state, text) as (here, _):
            here.certmgr.start()

            async def said():
                status = await here.certmgr.status()
                return status is not None and "certificates: {dev: true}" in (status.problem or "")

            assert await until(said, 20), here.certmgr.log.read_text()[-2000:]
            assert (await here.certmgr.renew("web")).error is None
            found = {i.name: i.serial for i in (await here.certmgr.status()).identities}
            assert found["payments"] is None
            assert None not in {found[name] for name in NAMES}

    asyncio.run(main())


def test_attack_36_no_secret_gets_out(here):
    """Keys, secret ids and tokens are in one file each: in no log, argument, environment, metric or status."""

    async def main():
        await here.certmgr.ready()
        await here.certmgr.renew("orders")
        here.bao.kill()
        await here.certmgr.renew("orders")
        here.bao.start()
        assert await until(lambda: vault_is(here, "ok"), 20)
        await here.certmgr.ready()
        secrets = [*here.secrets(), b"PRIVATE KEY", b"hvs.", b'"s.', b" s.", b'"b.', b" b."]
        said = here.certmgr.log.read_bytes() + here.bao.log.read_bytes()
        said += (await here.certmgr.metrics()).encode()
        said += msgspec.json.encode(await here.certmgr.status())
        for process in (here.certmgr.process, here.bao.process):
            said += " ".join(psutil.Process(process.pid).cmdline()).encode()
        said += repr(psutil.Process(here.bao.process.pid).environ()).encode()
        assert len(here.secrets()) == 2 + 4 + 4
        assert [] == [secret for secret in secrets if secret in said]
        files = [p for p in here.folder.root.rglob("*") if p.is_file() and p.suffix != ".log"]
        assert [] == [p.name for p in files if p.stat().st_mode & 0o077 and "data" not in p.parts]
        contents = [p.read_bytes() for p in files]
        assert [1] * 10 == [sum(secret in content for content in contents) for secret in here.secrets()]

    asyncio.run(main())


def test_refused_credentials_are_replaced(here):
    """Someone destroyed the secret id, or the file holds rubbish: set-up delivers a new one."""

    async def main():
        before = serials(await here.certmgr.ready())
        assert await here.certmgr.stop() == 0
        for name in ("orders", "web"):
            file = here.folder.certmgr / "approle" / f"{name}.json"
            text = file.read_text()
            file.write_text(text.replace('"secret_id": "', '"secret_id": "canary') if name == "web" else "{")
        here.certmgr.start()
        await here.certmgr.ready()
        for name in ("orders", "web"):

            async def renewed(name=name):
                return (await here.certmgr.renew(name)).serial != before[name]

            assert await until(renewed, 20), here.certmgr.log.read_text()[-2000:]
        assert b"canary" not in here.certmgr.log.read_bytes()

    asyncio.run(main())


def test_wiped_openbao_is_refused_until_its_root_is_meant(snapshot, state, seed):
    """A CA with another root is not slipped in under a running mesh."""

    async def main():
        async with restored(snapshot, state, mesh()) as (here, _):
            here.certmgr.start()
            before = serials(await here.certmgr.ready())
            here.bao.kill()
            shutil.rmtree(here.bao.folder)
            here.bao.seed = seed
            here.bao.start()

            async def said():
                answer = await here.certmgr.renew("orders")
                assert answer.serial == before["orders"]
                return answer.error is not None

            assert await until(said, 20)
            assert await until(lambda: logged(here, "is not the one that this host trusts"), 20)
            assert before["orders"] == (await here.certmgr.presented("orders")).serial

    asyncio.run(main())


async def logged(here: Host, text: str) -> bool:
    return text in here.certmgr.log.read_text()


def test_metrics_say_what_is(here):
    async def main():
        await here.certmgr.ready()
        text = await here.certmgr.metrics()
        values = {family.name: family.samples for family in text_string_to_metric_families(text)}
        assert values["certmgr_vault_up"][0].value == 1
        assert 0 < values["certmgr_seconds_to_outage"][0].value <= 600
        expiry = {sample.labels["identity"] for sample in values["certmgr_certificate_expiry_timestamp_seconds"]}
        assert expiry == set(NAMES)
        issued = [s for s in values["certmgr_renewals"] if s.labels == {"identity": "web", "outcome": "issued"}]
        assert issued[0].value >= 1
        assert {sample.value for sample in values["certmgr_sds_streams"]} == {0}

    asyncio.run(main())


def test_attack_31_second_certmgr_on_a_folder_exits(here):
    """And says why; the first one goes on."""

    async def main():
        await here.certmgr.ready()
        argv = [sys.executable, "-m", "certmgr", "--state", str(here.folder.root)]
        second = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=20)
        assert second.returncode == 1
        assert (
            second.stderr
            == f"certmgr: another certmgr runs on {here.folder.certmgr}: stop it first, or use another folder\n"
        )
        await here.certmgr.ready()

    asyncio.run(main())
