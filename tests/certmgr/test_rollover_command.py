"""`legation certs rollover`, as an operator uses it, on a real OpenBao."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from certmgr.issue.vault import Denied, Missing, Unreachable
from certmgr.store import Store
from legation.cli import rollover_steps
from legation.cli.output import Exit
from legation.mesh.rollover import CaRef, Rollover, Standing
from legation.runtime.control.client import ControlError
from legation.runtime.control.rollover_messages import RolloverView
from legation.runtime.identity import Identity as Presented
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from tests.certmgr.coordinator import Coordinator, coordinator
from tests.certmgr.host import NAMES, mesh
from tests.certmgr.rollover_scene import Scene, made, running
from tests.support.command import legation

pytestmark = pytest.mark.timeout(180)


async def counted(scene, sample: str) -> bool:
    return sample in await scene.certmgr.metrics()


def test_it_is_planned_paused_looked_at_and_rolled_back_and_init_and_doctor_know_what_came_of_it(tmp_path):
    async def main(scene: Scene):
        async with running(scene) as there:
            old = Store(scene.state.certmgr).roots()
            first = await scene.certmgr.presented("web")
            await begun(scene, there)
            second = await scene.certmgr.presented("web")
            assert issuer_of(second) == "CN=Legation intermediate of shop 2"
            assert Store(scene.state.certmgr).roots() == old, "the root is the same"
            code, said = await ask(scene, "pause")
            assert code == 0
            assert "stays where it is" in said
            code, said = await ask(scene, "status")
            assert code == 3
            assert "paused" in said
            assert "of its time to settle" in said
            assert (await ask(scene, "continue", *scene.there()))[0] == 0
            assert (await ask(scene, "continue", "--settle", "2h"))[0] == 3
            await forgotten(scene, there)
            code, said = await ask(scene, "rollback", *scene.there(), "--settle", "0s", "--wait")
            assert code == 0, said
            assert "it was rolled back" in said
            await scene.certmgr.ready(names=NAMES)
            third = await scene.certmgr.presented("web")
            assert issuer_of(third) == issuer_of(first)
            assert scene.refused == []
            assert await until(partial(counted, scene, 'certmgr_rollover_phase{phase="done"} 1.0'), 10)
            assert (await ask(scene, "forget", "nobody"))[0] == 2
            code, said = await ask(scene, "start", *scene.there(), "--settle", "0s", "--wait", "--what", "root")
            assert code == 0, said
            assert "are of int-3 now" in said
            assert (await ask(scene, "status"))[1].count("✓") == 7
            code, said = await ask(scene, "rollback", *scene.there())
            assert code == 2
            assert "another roll-over" in said
            assert issuer_of(await scene.certmgr.presented("web")) == "CN=Legation intermediate of shop 3"

    with made(tmp_path) as scene:
        asyncio.run(main(scene))
        same = legation("certs", "init", *scene.there(), "--dry-run", folder=tmp_path, env=scene.env())
        assert same.returncode == 0, same.stdout + same.stderr
        found = legation("certs", "doctor", *scene.there(), "-o", "json", folder=tmp_path, env=scene.env())
        assert {f["where"] for f in json.loads(found.stdout)["findings"]} <= {"sys/audit", "policy mesh-init"}, (
            found.stdout
        )


async def begun(scene: Scene, there: Coordinator):
    code, said = await ask(scene, "plan", *scene.there(), "--what", "intermediate", state=False)
    assert code == 0, said
    assert "int-2" in said
    code, said = await ask(scene, "start", *scene.there(), "--what", "intermediate", "--settle", "1h")
    assert code == 0, said
    assert "nobody is needed any more" in said
    assert there.phase == "settle"
    code, said = await ask(scene, "start", *scene.there())
    assert code == 2
    assert "is at settle" in said


async def forgotten(scene: Scene, there: Coordinator):
    """A host that is there says so again; the status is for programs too."""
    (host,) = there.standing.hosts
    assert host.startswith("here-")
    code, said = await ask(scene, "status", "-o", "json")
    assert code == 3
    assert json.loads(said)["standing"]["hosts"][host]["taken"] == ["orders-1", "web-1"]
    assert (await ask(scene, "forget", host))[0] == 0

    async def is_back() -> bool:
        return host in there.standing.hosts

    assert await until(is_back, 20)


def issuer_of(shown: Presented) -> str:
    return x509.load_pem_x509_certificates(shown.certificate_chain)[0].issuer.rfc4514_string()


async def ask(scene: Scene, *words: str, state: bool = True) -> tuple[int, str]:
    """Give an order in this process, and return its exit code and all that it says."""
    where = ("--state", str(scene.state.root)) if state else ()
    done = await asyncio.to_thread(legation, "certs", "rollover", *words, *where, folder=scene.folder, env=scene.env())
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start", "--what", "all"), "one of root, intermediate, vault is taken"),
        (("start", "--what", "intermediate", "--new-root", "pki/mine"), "--new-root goes with --what root"),
        (("plan", "--new-root", "pki"), "MOUNT/ISSUER is taken"),
        (("start", "--settle", "long"), "a number with its unit"),
    ],
)
def test_wrong_words_are_said_before_anything_is_done(there, words, said):
    done = legation("certs", "rollover", *words, *there.there(), folder=there.folder, env=there.env())
    assert done.returncode == 2
    assert said in done.stderr


def test_without_a_ca_or_an_xds_server_it_says_so(there):
    done = legation("certs", "rollover", "plan", *there.there(), "-o", "json", folder=there.folder, env=there.env())
    assert [step["phase"] for step in json.loads(done.stdout)["steps"]][:2] == ["prepare", "trust"]
    nobody = {**there.env(), "VAULT_TOKEN": "nobody"}
    done = legation("certs", "rollover", "plan", *there.there(), folder=there.folder, env=nobody)
    assert (done.returncode, "the token may not do this" in done.stderr) == (3, True)
    state = ("--state", str(there.state.root))
    for words in (("status",), ("pause",), ("continue",), ("start", *there.there())):
        done = legation("certs", "rollover", *words, *state, folder=there.folder, env=there.env())
        assert done.returncode == 4, words
        assert "on the host of xds_server" in done.stderr


def test_nothing_to_go_on_with_is_said(there):
    async def main():
        async with coordinator(there.state, mesh()):
            for words, code, said in (
                (("status",), 0, "there was no roll-over yet"),
                (("pause",), 2, "there is no roll-over: begin one"),
                (("continue",), 2, "there is no roll-over: begin one"),
                (("rollback", *there.there()), 2, "there is no roll-over: begin one"),
            ):
                found = await ask(there, *words)
                assert found[0] == code, words
                assert said in found[1]

    asyncio.run(main())


@pytest.mark.parametrize("faster", [0, 1, 3])
def test_a_wish_counts_also_where_others_move_the_roll_over_meanwhile(tmp_path, faster):
    """As certmgr does, between an operator's look and his word: `pause` and `--settle` were lost then."""

    async def main(state: StateFolder):
        async with hurried(state, faster) as there:
            paused = await rollover_steps.change(state, lambda known: replace(started(known), paused=True))
            assert paused == there.standing.rollover
            assert (paused.paused, paused.since) == (True, float(faster)), "what the others did is kept"

    asyncio.run(main(made_state(tmp_path)))


def test_who_is_never_first_is_told_so(tmp_path):
    async def main(state: StateFolder):
        async with hurried(state, 1000):
            with pytest.raises(ControlError, match="others have moved the roll-over 20 times meanwhile: ask again"):
                await rollover_steps.change(state, lambda known: replace(started(known), paused=True))

    asyncio.run(main(made_state(tmp_path)))


@asynccontextmanager
async def hurried(state: StateFolder, times: int) -> AsyncIterator[Coordinator]:
    """A roll-over that others move on, just before whoever wants to; so many times."""

    def faster(moment: str, _: str) -> None:
        before = there.standing
        if moment == "before" and started(before).since < times:
            after = replace(started(before), since=started(before).since + 1)
            show(replace(before, version=before.version + 1, rollover=after))

    def show(standing: Standing) -> None:
        there.rollovers.view.set(RolloverView(standing=standing))

    async with coordinator(state, mesh(), faster) as there:
        show(Standing(rollover=AT_TRUST))
        yield there


AT_TRUST = Rollover("x", "root", CaRef("int-1", "root-1"), CaRef("int-2", "root-2"), "trust", 0.0, 0.0)


def made_state(folder: Path) -> StateFolder:
    state = StateFolder(folder / "state")
    state.make()
    return state


def started(known: Standing) -> Rollover:
    assert known.rollover is not None
    return known.rollover


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with made(tmp_path_factory.mktemp("there")) as scene:
        yield scene


def test_of_many_who_are_waited_for_five_are_named(capsys):
    rollover_steps._tell(AT_TRUST, tuple(f"host {n}: away" for n in range(7)), news=True)
    said = capsys.readouterr().err
    assert "trust: every proxy trusts" in said
    assert "host 4: away" in said
    assert "host 5: away" not in said
    assert "and for 2 more" in said
    assert rollover_steps._end(replace(AT_TRUST, paused=True)) is Exit.FINDINGS


@pytest.mark.parametrize(
    ("error", "code"),
    [(Denied("no"), Exit.FINDINGS), (Unreachable("away"), Exit.UNREACHABLE), (Missing("x"), Exit.FINDINGS)],
)
def test_what_vault_says_has_an_exit_code(error, code):
    assert rollover_steps.failed(error).exit_code == code  # type: ignore[attr-defined]
