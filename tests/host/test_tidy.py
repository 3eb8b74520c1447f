"""What a killed mesh leaves in the temporary folder goes with a later start, and nothing else does."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from legation.host.tidy import tidy
from legation.runtime.state import StateFolder


def a_mesh(folder: Path) -> StateFolder:
    """Return a state folder whose path is too long for sockets, with one that nobody listens on."""
    state = StateFolder(folder / ("x" * 100))
    state.make()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state.control("host")))
    return state


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a temporary folder of the test's own, with a short path."""
    with TemporaryDirectory(prefix="tidy-", dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_the_sockets_of_a_mesh_that_is_gone_go(tmp_path: Path) -> None:
    gone, here = a_mesh(tmp_path / "gone"), a_mesh(tmp_path / "here")
    assert gone.run.parent != gone.root
    tidy(here)
    assert gone.run.exists(), "its state is still there: it may start again"
    shutil.rmtree(gone.root)
    tidy(here)
    assert (gone.run.exists(), here.run.exists()) == (False, True)


def test_what_still_answers_stays(tmp_path: Path) -> None:
    gone = a_mesh(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(gone.control("xds_server")))
        alive.listen()
        shutil.rmtree(gone.root)
        tidy(gone)
        assert gone.run.exists()
    tidy(gone)
    assert not gone.run.exists()


def test_what_is_not_surely_ours_stays(tmp_path: Path, elsewhere: Path) -> None:
    """A folder without a word of its owner, one with another's word, and a link to somewhere else."""
    gone = a_mesh(tmp_path / "gone")
    prefix = gone.run.name.rpartition("-")[0]
    silent, lying, link = (elsewhere / f"{prefix}-{name}" for name in ("silent", "lying", "link"))
    for folder in (silent, lying, tmp_path / "precious"):
        folder.mkdir()
    (lying / StateFolder.OWNER).write_text(str(gone.root))
    (tmp_path / "precious" / StateFolder.OWNER).write_text(str(gone.root))
    link.symlink_to(tmp_path / "precious")
    shutil.rmtree(gone.root)
    tidy(gone)
    assert [f.exists() for f in (silent, lying, link, tmp_path / "precious", gone.run)] == [True] * 4 + [False]
