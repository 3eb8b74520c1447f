"""mesh.yaml on its disk: UTF-8 whatever the locale says, and read no further than a mesh file may be long."""

from pathlib import Path

from legation.mesh.limits import LONGEST_TEXT


def read(file: Path) -> str:
    """Return a file's text, or as much of it as shows that it is too long; OSError or UnicodeDecodeError."""
    with file.open(encoding="utf-8") as text:
        return text.read(LONGEST_TEXT + 1)
