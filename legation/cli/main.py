"""`legation`: the commands. Each reads its words here and leaves the work to the modules beside this."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from legation.cli.certs_commands import certs
from legation.cli.find import read_mesh, running, state_of, status_or_leave
from legation.cli.output import Exit, Format, console, fail, seconds, write
from legation.cli.run_command import RUN_SETTINGS, StateOption, check_name, run
from legation.cli.scale_commands import scale
from legation.cli.slo_commands import slo
from legation.cli.telemetry_commands import telemetry
from legation.mesh import names

app = typer.Typer(
    name="legation",
    help="Makes stock Envoy proxies into a secure, observable service mesh, without Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path | None, typer.Option("-f", "--file", help="the mesh file; without it ./mesh.yaml")]
MeshFile = Annotated[Path | None, typer.Option("-f", "--file", help="the mesh file; without it the running mesh's")]
Output = Annotated[Format, typer.Option("-o", "--output", help="table for people, json or yaml for programs")]


@app.command()
def up(
    file: File = None,
    state: StateOption = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="go on behind, and return")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            parser=seconds,
            metavar="SECONDS",
            help="with -d: how long to wait until every instance is in order and the gateway answers",
        ),
    ] = None,
    gateway_port: Annotated[
        int | None, typer.Option("--gateway-port", min=0, max=65535, help="in place of expose.port; 0: any free one")
    ] = None,
) -> None:
    """Run a whole mesh on this host: OpenBao, xds_server, certmgr, telemetry, and every workload with its Envoy."""
    from legation.cli import up as work  # noqa: PLC0415 - its imports cost what validate should not pay

    path = (file or Path("mesh.yaml")).resolve()
    source = read_mesh(path)
    folder = state_of(source.mesh.mesh, state)
    if detach or wait is not None:
        raise typer.Exit(int(work.behind(source, path, folder, gateway_port, wait)))
    raise typer.Exit(int(work.foreground(source, path, folder, gateway_port)))


@app.command()
def down(
    file: MeshFile = None,
    state: StateOption = None,
    wait: Annotated[
        float, typer.Option("--wait", parser=seconds, metavar="SECONDS", help="how long to wait for its end")
    ] = 90,
) -> None:
    """End a mesh that runs on this host; leaves no process of it."""
    from legation.cli import down as work  # noqa: PLC0415

    raise typer.Exit(int(work.down(running(state, file, missing=Exit.OK), wait)))


@app.command()
def status(file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Show a running mesh: every instance, its configuration, its certificate, its processes."""
    from legation.host.picture import picture  # noqa: PLC0415

    found = status_or_leave(running(state, file))
    if output is Format.TABLE:
        console().print(picture(found, datetime.now(UTC)))
    else:
        write(found, output)
    raise typer.Exit(int(Exit.FINDINGS if found.problems else Exit.OK))


@app.command()
def validate(
    file: File = None,
    output: Output = Format.TABLE,
    envoy: Annotated[
        Path | None,
        typer.Option("--envoy", help="an Envoy of yours: whether it takes the mesh, and what is left out for it"),
    ] = None,
) -> None:
    """Check a mesh file: all violations at once, with line and column (exit code 3), or one line that it is good."""
    from legation.cli import validate as work  # noqa: PLC0415

    raise typer.Exit(int(work.validate(file or Path("mesh.yaml"), output, envoy)))


app.command(context_settings=RUN_SETTINGS)(run)


render = typer.Typer(name="render", help="Write files for other programs from a mesh file.", no_args_is_help=True)
app.add_typer(render)


@render.command("prometheus")
def render_prometheus(
    folder: Annotated[Path, typer.Argument(help="where to write rules, tests and configurations")],
    file: MeshFile = None,
    state: StateOption = None,
    grafana_url: Annotated[str, typer.Option(help="where alerts find the dashboards")] = "http://localhost:3000",
    runbook_url: Annotated[
        str | None, typer.Option(help="where alerts find the runbooks; by default telemetry serves them itself")
    ] = None,
    alertmanager: Annotated[str, typer.Option(help="host:port that Prometheus tells of alerts")] = "127.0.0.1:9093",
    check: Annotated[
        bool, typer.Option("--check", help="have promtool check it all, and run the alerts' tests")
    ] = False,
) -> None:
    """Write Prometheus's settings, recording and alert rules, and promtool's tests of them."""
    from legation.cli import render as work  # noqa: PLC0415

    work.prometheus(folder, *work.mesh_for(file, state), work.Links(grafana_url, runbook_url, alertmanager))
    if check:
        from legation.cli.check_rules import check as run  # noqa: PLC0415

        run(folder)


@render.command("grafana")
def render_grafana(
    folder: Annotated[Path, typer.Argument(help="where to write dashboards/")],
    file: MeshFile = None,
    state: StateOption = None,
) -> None:
    """Write Grafana's dashboards."""
    from legation.cli import render as work  # noqa: PLC0415

    work.grafana(folder, *work.mesh_for(file, state))


@render.command("kubernetes")
def render_kubernetes(
    folder: Annotated[Path, typer.Argument(help="where to write hpa/, keda/ and adapter.yaml")],
    file: MeshFile = None,
    state: StateOption = None,
    namespace: Annotated[str, typer.Option(help="of the Deployments; without it the one that kubectl has")] = "",
    prometheus_url: Annotated[
        str | None,
        typer.Option(help="where KEDA finds Prometheus; without it mesh.yaml's, or the operator's"),
    ] = None,
) -> None:
    """Write the autoscaling policies as HPA v2 and KEDA manifests."""
    from legation.cli import render as work  # noqa: PLC0415

    work.kubernetes(folder, work.mesh_for(file, state)[0], namespace, prometheus_url)


@render.command("ratelimit")
def render_ratelimit(
    folder: Annotated[Path, typer.Argument(help="ratelimit's RUNTIME_ROOT: it follows what is written there")],
    file: MeshFile = None,
    state: StateOption = None,
) -> None:
    """Write the limits that envoyproxy/ratelimit counts by (rate_limit.global)."""
    from legation.cli import render as work  # noqa: PLC0415

    work.ratelimit(folder, work.mesh_for(file, state)[0])


@render.command("compose")
def render_compose(
    files: Annotated[list[Path], typer.Argument(help="your compose files, in compose's own order")],
    file: File = None,
    output: Annotated[
        Path | None, typer.Option("--to", help="the override to write; without it docker-compose.legation.yaml")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="with Prometheus, Grafana, Jaeger and Loki, for compose's --profile full")
    ] = False,
) -> None:
    """Write an override that puts sidecars around the services of your compose files; undo is leaving it out."""
    from legation.cli import render_compose as work  # noqa: PLC0415

    raise typer.Exit(int(work.render_files(tuple(files), (file or Path("mesh.yaml")), output, full=full)))


@render.command("bootstrap")
def render_bootstrap(
    service: Annotated[str, typer.Option("--service", help="the service in front of whose app the Envoy stands")],
    address: Annotated[str, typer.Option("--address", help="an IP address of its own, where callers reach it")],
    app_port: Annotated[int, typer.Option("--app-port", min=1, max=65535, help="where the app listens")],
    app_address: Annotated[str, typer.Option("--app-address", help="and at which address")] = "127.0.0.1",
    only: Annotated[
        str | None, typer.Option("--only", help="certificates or telemetry: nothing else from here")
    ] = None,
    instance: Annotated[str | None, typer.Option("--instance", help="its id; made from the other words")] = None,
    version: Annotated[str, typer.Option("--version", help="which version of the service")] = "v1",
    zone: Annotated[str, typer.Option("--zone", help="where it is, for locality")] = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="where callers reach it")] = names.INBOUND_PORT,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", min=1, max=65535, help="where Prometheus reads it")
    ] = names.METRICS_PORT,
    xds: Annotated[
        str | None,
        typer.Option("--xds", help="HOST:PORT where xds_server listens for Envoys; without it, the one here"),
    ] = None,
    sds: Annotated[Path | None, typer.Option("--sds", help="certmgr's socket for the service")] = None,
    admin: Annotated[Path | None, typer.Option("--admin", help="a unix socket for Envoy's admin interface")] = None,
    envoy: Annotated[Path | None, typer.Option("--envoy", help="the Envoy: what it does not know is left out")] = None,
    file: MeshFile = None,
    state: StateOption = None,
) -> None:
    """Write the bootstrap of an Envoy that you run yourself: with everything, or a part of what is here."""
    from legation.cli import bootstrap as work  # noqa: PLC0415

    for name, value in (("--service", service), ("--version", version), ("--instance", instance)):
        check_name(name, value)
    words = work.Words(
        service=service, address=address, app_address=app_address, app_port=app_port, only=only, instance=instance,
        version=version, zone=zone, port=port, metrics_port=metrics_port, xds=xds, sds=sds, admin=admin,
        envoy=envoy,
    )  # fmt: skip
    work.render(words, file, state)


@app.command()
def logs(
    file: Annotated[Path | None, typer.Option("--file", help="the mesh file; without it the running mesh's")] = None,
    state: StateOption = None,
    service: Annotated[str | None, typer.Option("--service", help="of this service")] = None,
    instance: Annotated[str | None, typer.Option("--instance", help="of this instance")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="access: requests; app: what apps wrote")] = None,
    stream: Annotated[str | None, typer.Option("--stream", help="of an app's stdout, or its stderr")] = None,
    code: Annotated[
        str | None, typer.Option("--code", help="answered so: 503, 5xx, or a gRPC status as UNAVAILABLE")
    ] = None,
    flag: Annotated[str | None, typer.Option("--flag", help="with this response flag of Envoy's, as UF")] = None,
    trace: Annotated[str | None, typer.Option("--trace", help="of this trace id")] = None,
    request: Annotated[str | None, typer.Option("--request", help="of this x-request-id")] = None,
    text: Annotated[str | None, typer.Option("--text", help="with this text in it, in capitals or not")] = None,
    since: Annotated[str | None, typer.Option("--since", help="15m (ago), 12:30 (UTC) or an ISO 8601 time")] = None,
    until: Annotated[str | None, typer.Option("--until", help="the same: before that")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="the newest so many")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on with what comes, until Ctrl-C")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what the mesh logs: each request, from both ends where it failed, and what the apps write."""
    from legation.cli import logs as work  # noqa: PLC0415

    now = datetime.now(UTC)
    asked = {
        "service": service, "instance": instance, "kind": kind, "stream": stream, "code": code, "flag": flag,
        "trace": trace, "request": request, "text": text, "limit": str(limit),
        "since": str(work.moment("--since", since, now)) if since else None,
        "until": str(work.moment("--until", until, now)) if until else None,
    }  # fmt: skip
    words = {name: value for name, value in asked.items() if value is not None}
    raise typer.Exit(int(work.logs(running(state, file), words, output, follow=follow)))


app.add_typer(certs)
app.add_typer(scale)
app.add_typer(slo)


app.add_typer(telemetry)


def main() -> None:
    """Run the command; an unexpected error is exit code 1 with its reason, a broken pipe is nothing."""
    _open_standard_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        sys.exit(0)
    except OSError as error:
        _silence_stdout()
        fail(Exit.INTERNAL, f"{error.filename or 'what was asked for cannot be written'}: {error.strerror}")
        sys.exit(Exit.INTERNAL)


def _open_standard_streams() -> None:
    """Have all three, as a file of ours would get the number of one that is closed, and be written to as that."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115 - for ever


def _silence_stdout() -> None:
    """Let go of what cannot be written, or Python complains of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
