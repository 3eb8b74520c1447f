"""Files that mesh.yaml names, from its own folder."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from legation.mesh.edge_files import ca_file_violations, edge_file_violations
from legation.mesh.errors import InvalidMesh
from legation.mesh.source import SourcedMesh

LARGEST = 1 << 20
"""Bytes of a certificate's file; whatever is larger is something else."""


def reader(folder: Path) -> Callable[[str], bytes]:
    """Return what reads a file that is named from a folder; OSError for what is no file of a sane size."""
    return partial(_read, folder)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    found = path.stat()
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is no file")
    if found.st_size > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return path.read_bytes()


def check_files(sourced: SourcedMesh, now: float = 0.0) -> None:
    """See that the files that a mesh names can be used; InvalidMesh with every violation where some cannot.

    Without `now` an expired certificate passes: it must keep neither a mesh from its start nor a change from it.
    """
    of_the_gateway = edge_file_violations(sourced, reader(Path(sourced.file).parent), now)
    if violations := (*of_the_gateway, *ca_file_violations(sourced, reader(Path()))):
        raise InvalidMesh(violations)
