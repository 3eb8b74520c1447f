"""What is on disk: whole, private, or not used."""

import os
import signal
import subprocess
import sys

import pytest

from certmgr.core.bundle import Damaged, parse, render
from certmgr.core.plan import IdentitySpec
from certmgr.issue.vault import AppRole
from certmgr.store import Locked, Store, app_role, write
from tests.certmgr.authority import Authority

CA = Authority(1_800_000_000.0)
BUNDLE = CA.issue(IdentitySpec("orders", "spiffe://shop.local/orders", 3600))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "certmgr")
    with store.lock():
        yield store


def test_bundle_comes_back_as_it_was(store):
    assert store.bundle("orders") is None
    store.save_bundle("orders", BUNDLE)
    found = store.bundle("orders")
    assert render(found) == render(BUNDLE)
    assert (found.serial, found.life) == (BUNDLE.serial, BUNDLE.life)
    path = store.folder / "identities" / "orders.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    store.forget("orders")
    assert store.bundle("orders") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, render(BUNDLE)[:-40], render(BUNDLE)[:300], BUNDLE.chain_pem(), BUNDLE.key_pem(), b"<html>"],
    ids=["empty", "zeros", "cut at the end", "cut at the start", "no key", "only a key", "html"],
)
def test_attack_29_damaged_bundle_is_refused(store, content):
    path = store.folder / "identities" / "orders.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(Damaged):
        store.bundle("orders")


def test_attack_29_bundle_that_others_can_read_is_refused(store):
    store.save_bundle("orders", BUNDLE)
    (store.folder / "identities" / "orders.pem").chmod(0o644)
    with pytest.raises(Damaged, match=r"open to other users \(mode 0644\): chmod it to 0600"):
        store.bundle("orders")


def test_attack_29_bundle_of_another_user_says_whose_it_is(store, monkeypatch):
    """Its mode is as it should be: the owner is what is wrong."""
    store.save_bundle("orders", BUNDLE)
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    said = rf"belongs to \w+ \(uid {ours}\), and certmgr runs as uid 54321: .*; remove it, or chown it"
    with pytest.raises(Damaged, match=said):
        store.bundle("orders")


def test_link_in_the_place_of_a_secret_is_refused(store, tmp_path):
    (tmp_path / "elsewhere").write_bytes(render(BUNDLE))
    (store.folder / "identities" / "orders.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged, match="cannot be opened"):
        store.bundle("orders")


def test_key_is_not_shown_by_its_bundle_nor_by_its_damage():
    assert "PRIVATE" not in repr(BUNDLE)
    assert "EllipticCurve" not in repr(BUNDLE)
    with pytest.raises(Damaged) as caught:
        parse(b"canary" + render(BUNDLE)[:100])
    assert "canary" not in f"{caught.value!r} {caught.value}"


def test_serial_has_whole_bytes():
    assert len(BUNDLE.serial) % 2 == 0
    assert int(BUNDLE.serial, 16) == BUNDLE.leaf.serial_number


def test_credentials_come_back_and_are_not_shown(store):
    store.save_credentials("orders", AppRole("role", "canary", "mesh-services"))
    assert store.credentials("orders") == AppRole("role", "canary", "mesh-services")
    assert store.enrolled() == ("orders",)
    assert "canary" not in repr(store.credentials("orders"))
    store.save_credentials("orders", AppRole("role", "canary", "approle"))
    assert store.credentials("orders") is None, "it is of an earlier layout: get another"
    (store.folder / "approle" / "orders.json").write_text("{}")
    assert store.credentials("orders") is None
    with pytest.raises(Damaged, match="does not hold a role_id and a secret_id"):
        app_role(store.folder / "approle" / "orders.json")


def test_root_is_pinned(store):
    assert store.roots() == ()
    store.trust([CA.root])
    assert store.roots() == (CA.root,)
    store.root_file.write_text("no")
    with pytest.raises(Damaged, match="put the root that you trust there"):
        store.roots()


def test_second_holder_is_told_and_a_dead_one_lets_go(tmp_path):
    held = (
        "from certmgr.store import Store; import sys; from pathlib import Path\n"
        "with Store(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", held, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match="another certmgr runs on"), Store(tmp_path).lock():
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with Store(tmp_path).lock():
        pass


def test_attack_28_disk_that_takes_a_part_of_a_file_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:2]))
    with pytest.raises(OSError, match="No space left"):
        write(target, b"newer")
    assert target.read_bytes() == b"old"


def test_attack_30_killed_at_any_step_a_file_is_old_or_new(tmp_path):
    """Each system call of a write is the last one, once: strace is not needed, the calls are few and named."""
    target = tmp_path / "file"
    for call in ("open", "write", "fsync", "close", "replace"):
        target.write_bytes(b"old")
        target.chmod(0o600)
        script = (
            "import os, sys; from pathlib import Path; from certmgr import store\n"
            "def die(*a, **k): os.kill(os.getpid(), 9)\n"
            f"name = {call!r}\n"
            "setattr(os, name, die)\n"
            "store.write(Path(sys.argv[1]), b'new')\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(target)], check=False, env=dict(os.environ))
        assert done.returncode == -signal.SIGKILL
        assert target.read_bytes() == b"old"
        write(target, b"newer")
        assert target.read_bytes() == b"newer"
        assert target.stat().st_mode & 0o777 == 0o600
        assert [target] == list(tmp_path.iterdir())
