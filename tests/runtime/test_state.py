"""Where a mesh's state is, for whoever starts it."""

import os
import pwd
from pathlib import Path

import pytest

from legation.runtime.state import default_root

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"HOME": "/home/ann"}, Path("/home/ann/.local/state/legation")),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "/var/ann"}, Path("/var/ann/legation")),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "here"}, Path("/home/ann/.local/state/legation")),
        ({"HOME": ""}, HOME / ".local/state/legation"),
        ({}, HOME / ".local/state/legation"),
    ],
    ids=str,
)
def test_the_state_is_in_the_users_home(environ: dict[str, str], root: Path) -> None:
    assert default_root(environ) == root
