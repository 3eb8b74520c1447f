"""`legation scale`: what follows the load, and what a policy would have made of a load that was recorded."""

from pathlib import Path
from typing import Annotated

import typer

from legation.cli.output import Format

MeshFile = Annotated[Path | None, typer.Option("-f", "--file", help="the mesh file; without it the running mesh's")]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="folder for this mesh's state and sockets on this host")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="table for people, json or yaml for programs")]
PrometheusUrl = Annotated[
    str | None, typer.Option("--prometheus-url", help="the Prometheus to ask; without it mesh.yaml's")
]

scale = typer.Typer(name="scale", help="Instances that follow their load.", no_args_is_help=True)


@scale.command("list")
def scale_list(file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Show each version that follows its load: how many instances, between what, and why (exit code 3: blind)."""
    from legation.cli import scale as work  # noqa: PLC0415
    from legation.cli.find import running, status_or_leave  # noqa: PLC0415

    raise typer.Exit(int(work.list_scaled(status_or_leave(running(state, file)), output)))


@scale.command("simulate")
def scale_simulate(
    service: Annotated[str, typer.Argument(help="the service whose policy is tried")],
    file: MeshFile = None,
    state: StateOption = None,
    record: Annotated[
        Path | None, typer.Option("--csv", help="a recorded load: time,requests_per_second (in_flight, cpu)")
    ] = None,
    prometheus_url: PrometheusUrl = None,
    since: Annotated[str, typer.Option(help="how much of the past Prometheus is asked for")] = "24h",
    begin: Annotated[int | None, typer.Option(min=1, help="instances at the start; without it the minimum")] = None,
    start_delay: Annotated[str, typer.Option(help="how long a new instance takes until it serves")] = "10s",
    output: Output = Format.TABLE,
) -> None:
    """Replay a recorded load through the policy of a mesh file, and draw how many instances there would have been."""
    from legation.cli import scale as work  # noqa: PLC0415
    from legation.cli.render import mesh_for  # noqa: PLC0415

    mesh, _ = mesh_for(file, state)
    words = work.Words(service, record, prometheus_url, since, begin, start_delay)
    raise typer.Exit(int(work.simulated(mesh, words, output)))
