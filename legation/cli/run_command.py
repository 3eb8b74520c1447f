"""The command `run`, which has a program of its own: in a sidecar's image there is nothing that only others need."""

import re
from pathlib import Path
from typing import Annotated

import typer

from legation.cli.leave import fail
from legation.mesh import names
from legation.runtime.console import Exit

RUN_SETTINGS = {"allow_interspersed_args": False}
StateOption = Annotated[
    Path | None, typer.Option("--state", help="folder for this mesh's state and sockets on this host")
]


def run(
    service: Annotated[str, typer.Option("--service", help="the service that this is an instance of")],
    command: Annotated[list[str] | None, typer.Argument(help="the app and its arguments, after --")] = None,
    version: Annotated[str, typer.Option("--version", help="which version of the service")] = "v1",
    instance: Annotated[str | None, typer.Option("--instance", help="its id; made from the other words")] = None,
    address: Annotated[str | None, typer.Option("--address", help="loopback address; without it a free one")] = None,
    xds: Annotated[
        str | None, typer.Option("--xds", help="HOST:PORT of the control API of an xds_server on another host")
    ] = None,
    advertise: Annotated[
        str | None, typer.Option("--advertise", help="ADDRESS or ADDRESS:PORT where other hosts reach this instance")
    ] = None,
    app_at: Annotated[
        str | None,
        typer.Option("--app", help="HOST:PORT of the app, in containers of its own: this one is its sidecar alone"),
    ] = None,
    private: Annotated[
        str | None, typer.Option("--private", help="with --app: our name (or address) on the network of that app")
    ] = None,
    plain: Annotated[
        list[str] | None,
        typer.Option("--plain", help="our name where callers without a sidecar reach us, while mtls is permissive"),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="our name where Prometheus reaches us; without it, nobody does")
    ] = None,
    sds: Annotated[
        Path | None, typer.Option("--sds", help="certmgr's socket for this service, where it is alone")
    ] = None,
    logs_socket: Annotated[
        Path | None, typer.Option("--logs", help="telemetry's socket for access logs, where it is alone")
    ] = None,
    state: StateOption = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="where the app runs; without it, here")] = None,
    zone: Annotated[str, typer.Option("--zone", help="where this host is, for locality")] = "",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Envoy's worker threads")] = 1,
    listen: Annotated[
        list[str] | None, typer.Option("--listen", help="gateway only: SERVICE=PORT in place of expose.port")
    ] = None,
) -> None:
    """Run one instance: its Envoy, its identity and its app, which ends without losing a request on SIGTERM."""
    from legation.cli import run as work  # noqa: PLC0415

    for name, value in (("--service", service), ("--version", version), ("--instance", instance)):
        check_name(name, value)
    words = work.Words(
        service=service,
        version=version,
        instance=instance,
        address=address,
        xds=xds or "",
        advertise=advertise or "",
        container=work.Container(
            app=app_at or "", private=private or "", plain=tuple(plain or ()), metrics=metrics or ""
        ),
        sds=str(sds or ""),
        logs=str(logs_socket or ""),
        folder=folder or Path.cwd(),
        zone=zone,
        concurrency=concurrency,
        gateway_ports=tuple(listen or ()),
        command=tuple(command or ()),
    )
    raise typer.Exit(int(work.run(words, work.state_of(words, state))))


def check_name(option: str, value: str | None) -> None:
    """Leave where a value cannot be the name of a service, a version or an instance."""
    plain = value is None or value == names.GATEWAY or re.fullmatch(names.NAME_PATTERN.removesuffix("$") + r"\Z", value)
    if not plain:
        raise fail(Exit.USAGE, f"{option} {value!r}: lower-case letters, digits and dashes are taken, at most 63")
