"""`legation telemetry`: the words of its commands; the work is done beside this."""

from typing import Annotated

import typer

from legation.cli.find import running
from legation.cli.output import Format, seconds
from legation.cli.scale_commands import MeshFile, Output, PrometheusUrl, StateOption

telemetry = typer.Typer(name="telemetry", help="What is measured, and what that costs.", no_args_is_help=True)


@telemetry.command("cost")
def telemetry_cost(file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Say how many series a mesh file makes in Prometheus, before it is applied."""
    from legation.cli import cost  # noqa: PLC0415
    from legation.cli.render import mesh_for  # noqa: PLC0415

    cost.show(mesh_for(file, state)[0], output)


@telemetry.command("doctor")
def telemetry_doctor(
    file: MeshFile = None,
    state: StateOption = None,
    source: Annotated[str | None, typer.Option("--from", help="the calling service; by default the first")] = None,
    destination: Annotated[str | None, typer.Option("--to", help="the called one")] = None,
    prometheus_url: PrometheusUrl = None,
    jaeger_url: Annotated[
        str | None, typer.Option(help="where Jaeger shows traces; by default port 16686 of tracing.otlp's host")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", parser=seconds, metavar="SECONDS", help="how long each link may take")
    ] = 30,
    output: Output = Format.TABLE,
) -> None:
    """Send a request through a hop, and prove it in Prometheus, Jaeger and the logs; say which link is broken."""
    from legation.cli import doctor as work  # noqa: PLC0415

    raise typer.Exit(
        int(work.doctor(running(state, file), source, destination, prometheus_url, jaeger_url, wait, output))
    )
