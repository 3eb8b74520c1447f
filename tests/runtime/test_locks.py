"""Locks on things of this host, and where state is kept."""

import os
import socket
import stat
from pathlib import Path

import pytest

from legation.mesh import names
from legation.runtime import locks
from legation.runtime.state import StateFolder, default_root


def test_a_lock_is_held_until_it_is_closed() -> None:
    name = f"test/{os.getpid()}"
    held = locks.acquire(name)
    assert held is not None
    assert locks.acquire(name) is None
    held.close()
    again = locks.acquire(name)
    assert again is not None
    again.close()


def test_the_first_free_one_is_taken() -> None:
    kind = f"test-{os.getpid()}"
    first, second = locks.first(kind, range(2)), locks.first(kind, range(2))
    assert first is not None
    assert second is not None
    assert (first[0], second[0]) == (0, 1)
    assert locks.first(kind, range(2)) is None
    first[1].close()
    second[1].close()


def test_an_apps_port_is_free_and_below_the_ephemeral_range() -> None:
    port, held = locks.app_port()
    with held:
        assert port in names.APP_PORTS
        assert locks.is_free("127.0.0.1", port)


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not locks.is_free("127.0.0.1", server.getsockname()[1])


def test_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "mesh")
    state.make()
    for folder in (state.root, state.run, state.logs, state.instances, state.certmgr):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sockets_of_a_deep_state_folder_still_have_short_paths(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / ("deep" * 30))
    assert len(str(state.admin("some-instance-v1-0"))) < 107
    assert state.run != StateFolder(tmp_path / ("deep" * 31)).run


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"HOME": "/home/ann"}, "/home/ann/.local/state/legation"),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "/x"}, "/x/legation"),
    ],
)
def test_state_is_where_the_desktop_base_directories_say(environ: dict[str, str], root: str) -> None:
    assert str(default_root(environ)) == root
