"""`python -m legation.cli.render_settings MESH FOLDER`: what the programs around a mesh in docker compose read.

A container of its own runs it at each `docker compose up`, into a volume that they mount. Prometheus, Alertmanager,
Grafana, Loki and ratelimit each find theirs below FOLDER.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from dashboards.datasources import datasources
from dashboards.render import render_grafana
from legation.cli import render
from legation.cli.find import read_mesh
from legation.cli.output import chatter
from legation.compose import observability
from legation.compose.loki import LOKI
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.render import Target, render_prometheus


def settings(mesh: Mesh) -> Mapping[str, str]:
    """Return the files by relative path, but those of ratelimit."""
    there = observability.components()
    target = Target(
        f"http://{there['telemetry']}/sd",
        there,
        runbooks=f"http://localhost:{names.TELEMETRY_PORT}/runbooks",  # links for people
        alertmanager=f"{observability.ALERTMANAGER}:9093",
    )
    grafana = {**render_grafana(mesh), **datasources()}
    return {
        **{f"prometheus/{name}": text for name, text in render_prometheus(mesh, target).items()},
        **{f"grafana/{name}": text for name, text in grafana.items()},
        "loki.yaml": LOKI,
    }


def main(file: Path, folder: Path) -> None:
    """Write it all; what an earlier mesh.yaml left of rules is removed."""
    mesh = read_mesh(file).mesh
    files = settings(mesh)
    render.write(folder, files)
    render.remove_stale(folder / "prometheus", mesh, {name.removeprefix("prometheus/"): "" for name in files})
    render.ratelimit(folder / "ratelimit", mesh)
    chatter("rendered")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
