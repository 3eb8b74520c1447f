"""Sockets' folders in the temporary one, whose state folder is gone: a mesh that was killed leaves them behind."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from legation.runtime.state import StateFolder
from legation.runtime.unix_socket import is_served


def tidy(state: StateFolder) -> None:
    """Remove this user's folders that no mesh has any more. What is not surely so stays."""
    for folder in _left_behind(state):
        shutil.rmtree(folder, ignore_errors=True)


def _left_behind(state: StateFolder) -> Iterator[Path]:
    for folder in state.short_folders():
        with suppress(OSError, UnicodeDecodeError):
            owner = StateFolder(Path((folder / StateFolder.OWNER).read_text()))
            if owner.run == folder and not owner.root.exists() and not any(map(is_served, folder.glob("*.sock"))):
                yield folder
