"""`legation certs`: its commands. Those of a running host ask its certmgr; those with --vault ask a Vault."""

from pathlib import Path
from typing import Annotated

import typer

from legation.cli.certs_options import (
    File,
    Key,
    MaxTtl,
    MeshFile,
    Output,
    Root,
    StateOption,
    TokenFile,
    VaultCa,
    VaultUrl,
    mesh_at,
)
from legation.cli.find import running
from legation.cli.output import Format, seconds
from legation.cli.rollover_commands import rollover

certs = typer.Typer(name="certs", help="The mesh's certificates and their CA.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="a service, or legation-<component>")]


@certs.command("init")
def certs_init(
    vault: VaultUrl,
    file: File = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    key: Key = "ec-p256",
    max_ttl: MaxTtl = "24h",
    host: Annotated[Path | None, typer.Option("--host", help="also write a credential for one host here")] = None,
    wrap: Annotated[str, typer.Option("--wrap", help="how long that credential may wait for its first use")] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan (exit code 3), and change nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what the mesh needs in your Vault, then set it up. Run it again at any time: it changes what differs."""
    from legation.cli import certs as work  # noqa: PLC0415

    there = work.target(work.words(vault, vault_ca, token_file, root, key, max_ttl), mesh_at(file))
    wait = work.duration("--wrap", wrap)
    raise typer.Exit(int(work.init(there, output, dry_run=dry_run, yes=yes, host=host, wrap=wait)))


@certs.command("doctor")
def certs_doctor(
    vault: VaultUrl,
    file: File = None,
    vault_ca: VaultCa = None,
    token_file: TokenFile = None,
    root: Root = None,
    key: Key = "ec-p256",
    max_ttl: MaxTtl = "24h",
    output: Output = Format.TABLE,
) -> None:
    """Say what is over-broad, missing or about to end in your Vault, each with its fix (exit code 3)."""
    from legation.cli import certs as work  # noqa: PLC0415

    there = work.target(work.words(vault, vault_ca, token_file, root, key, max_ttl), mesh_at(file))
    raise typer.Exit(int(work.doctor(there, output)))


@certs.command("list")
def certs_list(file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Show every certificate of this host: whose, until when, renewed when, and what is wrong with it."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.show_all(running(state, file), output)))


@certs.command("show")
def certs_show(name: Name, file: MeshFile = None, state: StateOption = None, output: Output = Format.TABLE) -> None:
    """Show one certificate: its names, its life, its issuer."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.show(running(state, file), name, output)))


@certs.command("chain")
def certs_chain(name: Name, file: MeshFile = None, state: StateOption = None) -> None:
    """Write the certificate and those above it, up to the root, as PEM: for openssl."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.chain(running(state, file), name)))


@certs.command("timeline")
def certs_timeline(
    which: Annotated[str | None, typer.Argument(help="a service, legation-<component> or a serial; else all")] = None,
    file: MeshFile = None,
    state: StateOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what was issued and revoked on this host, oldest first; it needs no certmgr that runs."""
    from legation.cli import certs_timeline as work  # noqa: PLC0415

    raise typer.Exit(int(work.timeline(running(state, file), which, output)))


@certs.command("rotate")
def certs_rotate(
    names: Annotated[list[str] | None, typer.Argument(help="services; --all for every one")] = None,
    every: Annotated[bool, typer.Option("--all", help="every identity of this host")] = False,
    file: MeshFile = None,
    state: StateOption = None,
) -> None:
    """Issue new certificates now; connections go on. It also lets in again who was shut out."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.rotate(running(state, file), tuple(names or ()), every=every)))


@certs.command("revoke")
def certs_revoke(
    what: Annotated[str, typer.Argument(help="a service, an instance, or a serial")],
    shut_out: Annotated[
        bool, typer.Option("--shut-out", help="issue no new certificate in its place, until certs rotate")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", parser=seconds, metavar="SECONDS", help="how long to wait for Vault and this host's proxies"
        ),
    ] = 5,
    file: MeshFile = None,
    state: StateOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Revoke certificates. Its owner goes on with a new one; whoever has a copy of the old one is refused."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.revoke(running(state, file), what, output, shut_out=shut_out, wait=wait)))


certs.add_typer(rollover)
audit = typer.Typer(name="audit", help="The ledger of what was issued and revoked on this host.", no_args_is_help=True)
certs.add_typer(audit)


@audit.command("verify")
def audit_verify(file: MeshFile = None, state: StateOption = None) -> None:
    """Say whether the ledger is as it was written: each line holds the hash of the one before (exit code 3: not)."""
    from legation.cli import certs_host as work  # noqa: PLC0415

    raise typer.Exit(int(work.verify(running(state, file))))
