"""The files of CAs that mesh.yaml names: without a leading slash they are in its own folder, whoever reads them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from legation.mesh.model.mesh import Mesh
from legation.mesh.source import Path, SourcedMesh


def located(sourced: SourcedMesh) -> SourcedMesh:
    """Return the mesh with the whole path of each file."""
    folder, mesh = PurePath(sourced.file).parent, sourced.mesh
    for path, ca in ca_files(mesh):
        if not PurePath(ca).is_absolute():
            mesh = _with(mesh, path, str(folder / ca))
    return sourced if mesh is sourced.mesh else replace(sourced, mesh=mesh)


def ca_files(mesh: Mesh) -> Iterator[tuple[Path, str]]:
    """Yield where each file is named, and the file."""
    for name, external in mesh.external.items():
        if external.ca is not None:
            yield ("external", name, "ca"), external.ca
    for field, asked in (("tracing", mesh.tracing), ("logging", mesh.logging)):
        if asked is not None and asked.otlp is not None and asked.otlp.ca is not None:
            yield (field, "otlp", "ca"), asked.otlp.ca


def _with(mesh: Mesh, path: Path, ca: str) -> Mesh:
    """Return the mesh with another file at a path."""
    field, name = str(path[0]), str(path[1])
    if field == "external":
        changed = mesh.external[name].model_copy(update={"ca": ca})
        return mesh.model_copy(update={"external": {**mesh.external, name: changed}})
    asked = getattr(mesh, field)
    otlp = asked.otlp.model_copy(update={"ca": ca})
    return mesh.model_copy(update={field: asked.model_copy(update={"otlp": otlp})})
