"""`legation render compose`: a team's compose files and a mesh file to an override, and what there is to say of it."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from legation.cli.find import read_mesh, read_text
from legation.cli.output import Exit, chatter, fail
from legation.compose.override import Notes, render
from legation.compose.project import BadCompose, project
from legation.compose.text import read, write

OWN = "docker-compose.legation.yaml"


def render_files(files: tuple[Path, ...], mesh_file: Path, to: Path | None, *, full: bool = False) -> Exit:
    """Write the override beside the first file, `full` with what watches the mesh; 3 where something could not be."""
    mesh = read_mesh(mesh_file).mesh
    folder = files[0].absolute().parent
    target = (to or folder / OWN).absolute()
    try:
        given = [(str(file), read(read_text(file), str(file))) for file in files]
        services = project(given, _environment(folder))
        rendered = render(services, mesh, _beside(mesh_file, folder), full=full)
    except BadCompose as bad:
        raise fail(Exit.FINDINGS, str(bad)) from bad
    if not rendered.notes.did:
        raise fail(
            Exit.FINDINGS,
            "\n".join([f"no service of {mesh_file} is in these files: nothing is written", *rendered.notes.could_not]),
        )
    names = [_relative(file.absolute(), folder) for file in files]
    target.write_text(write(rendered.override, names, _relative(target, folder)))
    _say(rendered.notes)
    chatter(f"wrote {target}")
    return Exit.FINDINGS if rendered.notes.could_not else Exit.OK


def _say(notes: Notes) -> None:
    for title, lines in (("did", notes.did), ("open", notes.open), ("could not", notes.could_not)):
        for line in lines:
            chatter(f"{title}: {line}")


def _beside(mesh_file: Path, folder: Path) -> str:
    """Return how compose finds the mesh file: paths are taken from the project's folder."""
    return _relative(mesh_file.absolute(), folder)


def _relative(path: Path, folder: Path) -> str:
    found = os.path.relpath(path, folder)
    return found if found.startswith("..") else f"./{found}"


def _environment(folder: Path) -> Mapping[str, str]:
    """Return the variables that compose fills in: those of `.env` in the project's folder, and ours over them."""
    file = folder / ".env"
    rows = file.read_text().splitlines() if file.is_file() else ()
    return {**dict(_assignments(rows)), **os.environ}


def _assignments(rows: Iterable[str]) -> Iterable[tuple[str, str]]:
    for row in rows:
        name, sign, value = row.removeprefix("export ").partition("=")
        if sign and not name.lstrip().startswith("#"):
            yield name.strip(), value.strip().strip("\"'")
