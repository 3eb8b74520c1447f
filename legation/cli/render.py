"""`legation render`: files for Prometheus, Grafana and ratelimit, from a mesh file or the running mesh."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dashboards.render import render_grafana
from legation.cli.find import read_mesh, running, state_of
from legation.cli.output import Exit, chatter, fail
from legation.host.layout import HostFile
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.mesh.source import SourcedMesh
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import MeshDocument
from legation.runtime.state import StateFolder
from telemetry.autoscale.kubernetes import PROMETHEUS_URL, render_kubernetes
from telemetry.rules.render import HEAD, Target, render_prometheus
from telemetry.rules.yaml_text import dump
from xds_server.compile.global_rate_limit import counted


def mesh_for(file: Path | None, state: Path | None) -> tuple[Mesh, HostFile | None]:
    """Return the mesh that a file says, else the running one; with where it runs, when it does."""
    if file is not None:
        mesh = read_mesh(file).mesh
        return mesh, _host(mesh.mesh, state)
    folder = running(state, None)
    return mesh_source(folder).mesh, HostFile.read(folder.host_file)


def mesh_source(folder: StateFolder) -> SourcedMesh:
    """Return the mesh that runs from a folder."""
    document = asyncio.run(_document(folder))
    return load(document.text, document.file)


def _host(mesh: str, state: Path | None) -> HostFile | None:
    return HostFile.read(state_of(mesh, state).host_file)


async def _document(folder: StateFolder) -> MeshDocument:
    client = ControlClient(folder.control("host"), 5.0)
    try:
        return await client.get("/mesh", MeshDocument)
    except ControlError as error:
        raise fail(Exit.UNREACHABLE, f"no mesh runs from {folder.root}: {error}") from error


@dataclass(frozen=True, slots=True)
class Links:
    """Where other programs are; without a URL of runbooks, telemetry's own pages are linked."""

    grafana: str
    runbooks: str | None
    alertmanager: str


def prometheus(folder: Path, mesh: Mesh, host: HostFile | None, links: Links) -> None:
    """Write what Prometheus and Alertmanager need."""
    where = host or HostFile(mesh=mesh.mesh, file="", pid=0, block=0)
    components = {"xds_server": where.xds_metrics, "certmgr": where.certmgr_metrics, "telemetry": where.telemetry}
    target = Target(
        f"http://{where.telemetry}/sd",
        components,
        grafana=links.grafana,
        runbooks=links.runbooks or f"http://{where.telemetry}/runbooks",
        alertmanager=links.alertmanager,
    )
    files = render_prometheus(mesh, target)
    write(folder, files)
    remove_stale(folder, mesh, files)
    if host is None:
        chatter(f"mesh {mesh.mesh} does not run here: discovery_url in prometheus.yaml is where it would by default")
    chatter(f"start Prometheus with --config.file={folder / 'prometheus.yaml'}")


def grafana(folder: Path, mesh: Mesh, _: HostFile | None) -> None:
    """Write the dashboards."""
    write(folder, render_grafana(mesh))


def kubernetes(folder: Path, mesh: Mesh, namespace: str, prometheus_url: str | None) -> None:
    """Write an HPA and a KEDA ScaledObject for each policy."""
    there = prometheus_url or (mesh.prometheus.url if mesh.prometheus is not None else PROMETHEUS_URL)
    files = render_kubernetes(mesh, namespace, there)
    write(folder, files)
    if not files:
        chatter("no service has autoscale: nothing follows the load")
        return
    chatter(f"with KEDA: kubectl apply -f {folder / 'keda'}")
    chatter(f"with prometheus-adapter, told of {folder / 'adapter.yaml'}: kubectl apply -f {folder / 'hpa'}")


def ratelimit(folder: Path, mesh: Mesh) -> None:
    """Write the limits that envoyproxy/ratelimit counts by."""
    limits = counted(mesh)
    write(folder, {"config/limits.yaml": dump(limits, f"The global limits of mesh {mesh.mesh}, by legation.")})
    settings = f"RUNTIME_ROOT={folder.absolute()} RUNTIME_WATCH_ROOT=false RUNTIME_IGNOREDOTFILES=true"
    chatter(f"ratelimit follows this folder when it is started with {settings}")
    if not limits["descriptors"]:
        chatter("no service has rate_limit.global: nothing is counted")


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by relative path, each in one step."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")  # who follows the folder never sees half a file
        fresh.write_text(text)
        fresh.replace(path)
        chatter(f"wrote {path}")


def remove_stale(folder: Path, mesh: Mesh, files: Mapping[str, str]) -> None:
    """Remove the rules and tests of an earlier rendering that the mesh no longer has: Prometheus would load them."""
    for path in sorted([*folder.glob(f"rules/{mesh.mesh}.*"), *folder.glob(f"tests/{mesh.mesh}.*")]):
        if str(path.relative_to(folder)) not in files and path.read_text().startswith(f"# {HEAD}"):
            path.unlink()
            chatter(f"removed {path}")
