"""`legation validate`: whether a mesh file is good, for people and for programs."""

import sys
import time
from pathlib import Path

from legation.cli.find import read_text
from legation.cli.output import Exit, Format, chatter, write
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime.control.messages import Validation, ViolationMessage
from legation.runtime.edge_files import check_files


def validate(file: Path, form: Format) -> Exit:
    """Say whether a mesh file is good; violations go to stdout, as they are what was asked for."""
    text = read_text(file)
    try:
        source = load(text, str(file))
        check_files(source, time.time())
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
        write(Validation(file=str(file), version=source.version), form)
    return Exit.OK


def _good(mesh: Mesh) -> str:
    calls = sum(len(service.calls) for service in mesh.services.values())
    return f"good: mesh {mesh.mesh}, {len(mesh.services)} services, {calls} calls"
