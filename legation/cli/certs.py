"""`legation certs`: a Vault set up as the mesh's CA, and looked over."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from rich.table import Table

from certmgr.core.doctor import Finding, Server, findings
from certmgr.core.edge import edge_hosts
from certmgr.core.layout import KEYS, ROOT_ISSUER, ROOT_MOUNT
from certmgr.core.setup import Authority, CannotSetUp, Step
from certmgr.issue.setup import Setup
from certmgr.issue.vault import Address, Denied, Token, Unreachable, Vault, VaultError
from certmgr.store import write as write_secret
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.model.mesh import Mesh
from legation.mesh.types import parse_duration
from legation.runtime.control.messages import Message


class StepMessage(Message, frozen=True, kw_only=True):
    """One step of a plan."""

    sign: str
    path: str
    waits: str | None
    changes: dict[str, tuple[str | None, str | None]]


class PlanMessage(Message, frozen=True, kw_only=True):
    """What set-up would do."""

    server: str
    steps: tuple[StepMessage, ...]
    schema: int = 1


class FindingMessage(Message, frozen=True, kw_only=True):
    """One finding."""

    kind: str
    where: str
    what: str
    fix: str


class DoctorMessage(Message, frozen=True, kw_only=True):
    """What is wrong with a Vault."""

    server: str
    findings: tuple[FindingMessage, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Words:
    """What was said on the command line."""

    vault: str
    ca: Path | None
    token_file: Path | None
    root: str | None
    key: str
    max_ttl: timedelta


@dataclass(frozen=True, slots=True)
class Target:
    """A Vault that answers, and the operator who works on it. The token is in memory alone."""

    vault: Vault
    token: Token
    server: Server
    setup: Setup
    authority: Authority


def words(vault: str, ca: Path | None, token_file: Path | None, root: str | None, key: str, max_ttl: str) -> Words:
    """Return what was said; leaves with what would be accepted."""
    if not vault.startswith(("https://", "http://")):
        raise fail(Exit.USAGE, f"--vault {vault!r}: a URL is taken, such as https://vault.example.com:8200")
    if key not in KEYS:
        raise fail(Exit.USAGE, f"--key {key!r}: one of {', '.join(KEYS)} is taken")
    if ca is not None and not ca.is_file():
        raise fail(Exit.USAGE, f"--vault-ca {ca}: there is no such file")
    return Words(vault, ca, token_file, root, key, duration("--max-ttl", max_ttl))


def duration(option: str, text: str) -> timedelta:
    """Return a time as people write it; leaves with what would be accepted."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise fail(Exit.USAGE, f"{option} {text!r}: a number with its unit is taken, such as 10m or 24h") from error


def target(words: Words, mesh: Mesh) -> Target:
    """Return who is to be worked on; leaves with what is missing."""
    vault = Vault(Address(url=words.vault, ca=str(words.ca or "")))
    try:
        server = Server(words.vault, vault.version(), str(words.ca or ""))
    except VaultError as error:
        raise fail(Exit.UNREACHABLE, str(error)) from error
    mount, _, issuer = (words.root or f"{ROOT_MOUNT}/{ROOT_ISSUER}").rpartition("/")
    if not mount:
        raise fail(Exit.USAGE, f"--root {words.root!r}: MOUNT/ISSUER is taken, such as pki/root-2026")
    authority = Authority(
        mesh.mesh,
        mesh.trust_domain,
        key=words.key,
        max_ttl=int(words.max_ttl.total_seconds()),
        root_mount=mount,
        root_issuer=issuer,
        hosts=edge_hosts(mesh),
        stored=mesh.certificates.stored,
    )
    token = Token(_token(words.token_file), 0)
    return Target(vault, token, server, Setup(vault, token), authority)


def init(there: Target, form: Format, *, dry_run: bool, yes: bool, host: Path | None, wrap: timedelta) -> Exit:
    """Show what set-up would do, ask, and do it; write a credential for a host where one is asked for."""
    try:
        steps = there.setup.plan(there.authority, time.time())
        _show_plan(there, steps, form)
        if dry_run:
            return Exit.FINDINGS if steps else Exit.OK
        if steps and not (yes or _agreed()):
            chatter("nothing was changed")
            return Exit.FINDINGS
        root = there.setup.run(there.authority, time.time())
        print_of_root = root.fingerprint(hashes.SHA256()).hex(":")
        chatter(f"{there.server.address} is set up; the SHA-256 fingerprint of its root is {print_of_root}")
        if host is not None:
            _write_host(there, host, wrap)
    except (VaultError, CannotSetUp) as error:
        raise _failed(error) from error
    return Exit.OK


def doctor(there: Target, form: Format) -> Exit:
    """Say what is over-broad, missing or about to end, each with its fix."""
    try:
        seen, refused = there.setup.examine(there.authority)
    except VaultError as error:
        raise _failed(error) from error
    found = findings(seen, there.authority, there.server, time.time(), refused)
    if form is Format.TABLE:
        _show_findings(there.server, found)
    else:
        rows = tuple(FindingMessage(kind=f.kind, where=f.where, what=f.what, fix=f.fix) for f in found)
        write(DoctorMessage(server=there.server.product, findings=rows), form)
    return Exit.FINDINGS if found else Exit.OK


def _failed(error: Exception) -> Exception:
    """Return how to leave: a Vault that is away is another code than one that says no."""
    if isinstance(error, Denied):
        return fail(Exit.FINDINGS, f"{error}: the token may not do this; docs/vault.md has the policy that can")
    return fail(Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.FINDINGS, str(error))


def _token(file: Path | None) -> str:
    """Return the operator's token: of the file, the environment, or the person at the terminal. Kept nowhere."""
    if file is not None:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise fail(Exit.USAGE, f"cannot read {file}: {error.strerror}") from error
    found = os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN")
    if found:
        return found
    if sys.stdin.isatty():
        import getpass  # noqa: PLC0415 - only here

        return getpass.getpass("an operator's token (it is not shown, and not kept): ")
    raise fail(Exit.USAGE, "no operator's token: give it with --token-file FILE, or in VAULT_TOKEN")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise fail(Exit.USAGE, "nobody is here to say yes: look at the plan, and say --yes")
    sys.stderr.write("Do this? Only yes is yes: ")
    return sys.stdin.readline().strip() == "yes"


def _write_host(there: Target, file: Path, wrap: timedelta) -> None:
    """Write a host's credential; its secret id is wrapped, so that whoever takes it first is noticed."""
    seconds = int(wrap.total_seconds())
    role_id, wrapped = there.setup.host_credentials(seconds)
    write_secret(file.absolute(), json.dumps({"role_id": role_id, "wrapped_secret_id": wrapped}).encode())
    chatter(
        f"{file}: one host's credential, good for one use within {wrap}: python -m certmgr --vault-credentials {file}"
    )


def _show_plan(there: Target, steps: Sequence[Step], form: Format) -> None:
    if form is not Format.TABLE:
        rows = tuple(_message(step) for step in steps)
        write(PlanMessage(server=there.server.product, steps=rows), form)
        return
    for line in (f"{there.server.address} is {there.server.product}", *there.server.differences()):
        chatter(line)
    if not steps:
        chatter("all is as it should be: there is nothing to do")
    for step in steps:
        console().print(f"{step.sign} {step.path}" + (f"   (after {step.waits})" if step.waits else ""), markup=False)
        for key, (before, after) in _message(step).changes.items():
            old = "" if before is None else f"{before} → "
            console().print(f"    {key}: {old}{after}", markup=False)


def _message(step: Step) -> StepMessage:
    changes = step.changes or tuple((key, None, value) for key, value in step.body.items())
    told = {key: (_text(before), _text(after)) for key, before, after in changes}
    return StepMessage(sign=step.sign, path=step.path, waits=step.waits, changes=told)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _show_findings(server: Server, found: Sequence[Finding]) -> None:
    if not found:
        chatter(f"{server.address} ({server.product}): nothing to find fault with")
        return
    table = Table("", "where", "what", "fix", box=None, header_style="bold")
    for finding in found:
        table.add_row(finding.kind, finding.where, finding.what, finding.fix)
    console().print(table)
