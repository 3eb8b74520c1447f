"""`legation validate`: whether a mesh file is good, for people and for programs."""

import sys
import time
from pathlib import Path

from legation.cli.find import read_text
from legation.cli.output import Exit, Format, chatter, write
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.mesh.source import SourcedMesh
from legation.runtime.control.messages import Validation, ViolationMessage
from legation.runtime.edge_files import check_files

_NOTHING: tuple[str, ...] = ()


def validate(file: Path, form: Format, envoy: Path | None = None) -> Exit:
    """Say whether a mesh file is good, and whether an Envoy takes it, without what that does not know.

    Violations go to stdout, as they are what was asked for.
    """
    text = read_text(file)
    version, lost = "", _NOTHING
    try:
        source = load(text, str(file))
        check_files(source, time.time())
        if envoy is not None:
            version, lost = _prove(source, envoy)
    except InvalidMesh as invalid:
        if form is Format.TABLE:
            sys.stdout.write(f"{invalid}\n")
        else:
            write(
                Validation(file=str(file), violations=tuple(ViolationMessage.of(f) for f in invalid.violations)), form
            )
        return Exit.FINDINGS
    if form is Format.TABLE:
        chatter(f"{file}: {_good(source.mesh)}")
    else:
        write(Validation(file=str(file), version=source.version, envoy=version, lost=lost), form)
    return Exit.OK


def _prove(source: SourcedMesh, envoy: Path) -> tuple[str, tuple[str, ...]]:
    """Have an Envoy look at the mesh; return its version, and what is lost as it does not know it."""
    from legation.cli import with_envoy  # noqa: PLC0415 - its imports cost what validate should not pay

    found = with_envoy.prove(source, envoy)
    chatter(f"Envoy {found.version} takes the mesh" + (", without some parts of it" if found.lacks else ""))
    for line in with_envoy.left_out(found):
        chatter(line)
    return found.version, with_envoy.lost(found)


def _good(mesh: Mesh) -> str:
    calls = sum(len(service.calls) for service in mesh.services.values())
    return f"good: mesh {mesh.mesh}, {len(mesh.services)} services, {calls} calls"
