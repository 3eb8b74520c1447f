"""`legation slo`: what services promise, what is left of their error budgets, and how fast it is spent."""

from typing import Annotated

import typer

from legation.cli.output import Format
from legation.cli.scale_commands import MeshFile, Output, PrometheusUrl, StateOption

slo = typer.Typer(name="slo", help="What services promise their callers.", no_args_is_help=True)


@slo.command("list")
def slo_list(
    file: MeshFile = None,
    state: StateOption = None,
    prometheus_url: PrometheusUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Show each objective, and what is left of its budget of 30 days (exit code 3: one is overspent)."""
    from legation.cli import slo as work  # noqa: PLC0415
    from legation.cli.render import mesh_for  # noqa: PLC0415

    raise typer.Exit(int(work.listed(mesh_for(file, state)[0], prometheus_url, output)))


@slo.command("burn")
def slo_burn(
    service: Annotated[str | None, typer.Argument(help="one service; without it all")] = None,
    file: MeshFile = None,
    state: StateOption = None,
    prometheus_url: PrometheusUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Show how fast budgets are spent, by window (exit code 3: fast enough to page, or overspent)."""
    from legation.cli import slo as work  # noqa: PLC0415
    from legation.cli.render import mesh_for  # noqa: PLC0415

    raise typer.Exit(int(work.burning(mesh_for(file, state)[0], service, prometheus_url, output)))
