"""`legation certs rollover`: its commands. They are given on the host of xds_server, which keeps where it stands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from legation.cli.certs_options import (
    File,
    MeshFile,
    Output,
    Root,
    StateOption,
    TokenFile,
    VaultCa,
    VaultUrl,
    mesh_at,
)
from legation.cli.find import running, state_of
from legation.cli.output import Format
from legation.mesh.model.mesh import Mesh

if TYPE_CHECKING:
    from legation.cli.certs import Target

rollover = typer.Typer(
    name="rollover", help="Another intermediate or root for the mesh, with nobody cut off.", no_args_is_help=True
)
What = Annotated[
    str, typer.Option("--what", help="root (and intermediate), intermediate (alone), or vault: all to --vault")
]
NewRoot = Annotated[
    str | None, typer.Option("--new-root", help="MOUNT/ISSUER of a root of yours; without it one is made in mesh-root")
]
Settle = Annotated[
    str | None,
    typer.Option(
        "--settle", help="time in which all can be rolled back, before the old CA is dropped; default: a life"
    ),
]
OwnVault = Annotated[
    str | None,
    typer.Option("--vault", help="https URL of your Vault or OpenBao; without it the embedded OpenBao's own root"),
]
Stay = Annotated[bool, typer.Option("--wait", help="stay until it is over, also while it settles")]


@rollover.command("plan")
def rollover_plan(
    vault: VaultUrl,
    file: File = None,
    state: StateOption = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    what: What = "root",
    new_root: NewRoot = None,
    output: Output = Format.TABLE,
) -> None:
    """Show each step of a roll-over, who takes it, and what it is; changes nothing."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    mesh = mesh_at(file)
    there = _target(vault, mesh, vault_ca, token_file, root)
    raise typer.Exit(int(work.plan(state_of(mesh.mesh, state), there, work.wish(what, new_root, None, mesh), output)))


@rollover.command("start")
def rollover_start(
    vault: OwnVault = None,
    file: File = None,
    state: StateOption = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    what: What = "root",
    new_root: NewRoot = None,
    settle: Settle = None,
    wait: Stay = False,
) -> None:
    """Roll the mesh over to another CA, each step when every proxy has taken the one before; ends when it settles."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    if vault is None:
        raise typer.Exit(int(work.start_own(running(state, file), settle, wait=wait)))
    mesh = mesh_at(file)
    there = _target(vault, mesh, vault_ca, token_file, root)
    wish = work.wish(what, new_root, settle, mesh)
    raise typer.Exit(int(work.start(running(state, file), there, wish, wait=wait)))


@rollover.command("status")
def rollover_status(file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Show where a roll-over stands, and by name whom it waits for (exit code 3)."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    raise typer.Exit(int(work.status(running(state, file), output)))


@rollover.command("pause")
def rollover_pause(file: MeshFile = None, state: StateOption = None) -> None:
    """Let a roll-over stay at its step."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    raise typer.Exit(int(work.pause(running(state, file))))


@rollover.command("continue")
def rollover_continue(
    vault: Annotated[str | None, typer.Option("--vault", help="URL of your Vault, where it waits for a token")] = None,
    file: File = None,
    state: StateOption = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    settle: Settle = None,
    wait: Stay = False,
) -> None:
    """Let a roll-over go on that was paused, or whose command has ended while a token was needed."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    there = None if vault is None else _target(vault, mesh_at(file), vault_ca, token_file, root)
    raise typer.Exit(int(work.go_on(running(state, file), there, settle, wait=wait)))


@rollover.command("rollback")
def rollover_rollback(
    vault: Annotated[str | None, typer.Option("--vault", help="URL of your Vault, for a root or intermediate")] = None,
    file: File = None,
    state: StateOption = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    settle: Settle = None,
    wait: Stay = False,
) -> None:
    """Call a roll-over off: back to the CA from before, as carefully. Until the old root is dropped."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    there = None if vault is None else _target(vault, mesh_at(file), vault_ca, token_file, root)
    raise typer.Exit(int(work.roll_back(running(state, file), there, settle, wait=wait)))


@rollover.command("join")
def rollover_join(
    vault: VaultUrl,
    file: File = None,
    state: StateOption = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
) -> None:
    """Give this host a credential for the Vault that a roll-over leads to; start gives xds_server's own host its."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    there = _target(vault, mesh_at(file), vault_ca, token_file, None)
    raise typer.Exit(int(work.join(running(state, file), there)))


@rollover.command("forget")
def rollover_forget(
    host: Annotated[str, typer.Argument(help="a host, as status calls it")],
    file: MeshFile = None,
    state: StateOption = None,
) -> None:
    """Wait no more for a host that will not come back."""
    from legation.cli import certs_rollover as work  # noqa: PLC0415

    raise typer.Exit(int(work.forget(running(state, file), host)))


def _target(vault: str, mesh: Mesh, ca: Path | None, token_file: Path | None, root: str | None) -> "Target":
    from legation.cli import certs as work  # noqa: PLC0415

    return work.target(work.words(vault, ca, token_file, root, "ec-p256", "24h"), mesh)
