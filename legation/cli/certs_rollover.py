"""`legation certs rollover`: another intermediate or root for the mesh, step by step, with nobody cut off.

The operator's token is in the memory of this command alone. What needs none goes on without it: the
command may end at any time, and `continue` takes up where the roll-over stands.
"""

import asyncio
import getpass
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from rich.table import Table

from certmgr.core.layout import INT_MOUNT, ISSUER, ROOT_ISSUER, ROOT_MOUNT
from certmgr.core.rollover import (
    CannotRollOver,
    begin,
    called_off,
    kept,
    steps,
    waits_for,
)
from certmgr.core.setup import CannotSetUp
from certmgr.issue.vault import VaultError
from legation.cli.certs import Target, duration
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.cli.rollover_steps import (
    ask,
    certmgr_client,
    change,
    drive,
    failed,
    give,
    operator_of,
    running,
    standing_now,
    xds_client,
)
from legation.mesh.model.mesh import Mesh
from legation.mesh.rollover import CaRef, Kind, Rollover, Standing
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import Message
from legation.runtime.control.rollover_messages import PresentCa, RolloverView
from legation.runtime.state import StateFolder

_START_LIMIT = 90.0
"""Seconds in which another embedded OpenBao is started and set up."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a roll-over is to bring: its kind, a root of the team's (MOUNT/ISSUER), the seconds to settle."""

    kind: Kind
    root: str | None
    settle: float


def wish(what: str, root: str | None, settle: str | None, mesh: Mesh) -> Wish:
    """Return what was asked for; leaves with what would be accepted. Without a word it settles for a leaf's life."""
    kinds: dict[str, Kind] = {"root": "root", "intermediate": "intermediate", "vault": "vault"}
    if what not in kinds:
        raise fail(Exit.USAGE, f"--what {what!r}: one of {', '.join(kinds)} is taken")
    if what != "root" and root is not None:
        raise fail(Exit.USAGE, "--new-root goes with --what root alone")
    life = mesh.certificates.ttl if settle is None else duration("--settle", settle)
    return Wish(kinds[what], root, life.total_seconds())


class StepRow(Message, frozen=True, kw_only=True):
    """One step of the plan."""

    phase: str
    by: str
    what: str


class RolloverPlan(Message, frozen=True, kw_only=True):
    """What a roll-over would do."""

    kind: str
    old: CaRef
    new: CaRef
    steps: tuple[StepRow, ...]
    schema: int = 1


class RolloverStatus(Message, frozen=True, kw_only=True):
    """Where a roll-over stands, and what it waits for."""

    standing: Standing
    waits: tuple[str, ...]
    schema: int = 1


def plan(state: StateFolder, there: Target, wish: Wish, form: Format) -> Exit:
    """Show what a roll-over would do, and change nothing."""
    old, new = _pair(state, there, wish)
    rows = tuple(StepRow(phase=phase, by=actor, what=what) for phase, actor, what in steps(wish.kind))
    if form is not Format.TABLE:
        write(RolloverPlan(kind=wish.kind, old=old, new=new, steps=rows), form)
        return Exit.OK
    chatter(f"from {old.root_mount}/{old.root_issuer}, {INT_MOUNT}/{old.issuer}")
    chatter(f"to   {new.root_mount}/{new.root_issuer}, {INT_MOUNT}/{new.issuer}")
    table = Table("", "step", "by", "what", box=None, header_style="bold")
    for number, row in enumerate(rows, 1):
        table.add_row(str(number), row.phase, row.by, row.what)
    console().print(table)
    return Exit.OK


def start(state: StateFolder, there: Target, wish: Wish, *, wait: bool) -> Exit:
    """Begin a roll-over, and go with it as far as the operator is needed."""
    old, new = _pair(state, there, wish)
    now = time.time()
    fresh = Rollover(
        secrets.token_hex(4), wish.kind, old, new, "prepare", now, now, settle=wish.settle, by=getpass.getuser()
    )
    _changed(state, lambda known: begin(known, fresh))
    return drive(state, there, wait=wait)


def start_own(state: StateFolder, settle: str | None, *, wait: bool) -> Exit:
    """Have another root follow the embedded OpenBao's now; it needs nobody, as when it comes by itself."""
    ask(certmgr_client(state).send("POST", "/root", None, RolloverView, limit=_START_LIMIT))
    _changed(state, lambda known: _settling(running(known), settle))
    return drive(state, None, wait=wait)


def go_on(state: StateFolder, there: Target | None, settle: str | None, *, wait: bool) -> Exit:
    """Let a roll-over go on that is paused, or that waits for an operator."""
    _changed(state, lambda known: _settling(replace(running(known), paused=False), settle))
    if there is None:
        return status(state, Format.TABLE)
    return drive(state, there, wait=wait)


def pause(state: StateFolder) -> Exit:
    """Let a roll-over stay where it is; what its phase has everybody do, they do."""
    _changed(state, lambda known: replace(running(known), paused=True))
    chatter("it stays where it is, until legation certs rollover continue")
    return Exit.OK


def roll_back(state: StateFolder, there: Target | None, settle: str | None, *, wait: bool) -> Exit:
    """Call a roll-over off: all the way back to the CA that was there before."""

    def back(known: Standing) -> Rollover:
        if there is None and running(known).kind != "vault":  # for that one each host turns back by itself
            raise fail(Exit.USAGE, "--vault URL is missing: an operator's token has the roles there sign as before")
        return called_off(_settling(running(known), settle), time.time())

    _changed(state, back)
    return drive(state, there, wait=wait)


def _changed(state: StateFolder, wish: Callable[[Standing], Rollover]) -> None:
    """Have the roll-over be what `wish` makes of it; leaves with what speaks against it."""
    try:
        ask(change(state, wish))
    except CannotRollOver as error:
        raise fail(Exit.USAGE, str(error)) from error


def forget(state: StateFolder, host: str) -> Exit:
    """Wait no more for a host that will not come back."""
    ask(xds_client(state).send("DELETE", f"/rollover/hosts/{host}", None, RolloverView))
    chatter(f"{host} is forgotten, until its certmgr says something again")
    return Exit.OK


def status(state: StateFolder, form: Format) -> Exit:
    """Show where a roll-over stands; exit code 3 while somebody is waited for."""
    standing = ask(standing_now(state))
    waits = waits_for(standing, time.time())
    if form is not Format.TABLE:
        write(RolloverStatus(standing=standing, waits=waits), form)
        return Exit.FINDINGS if waits else Exit.OK
    rollover = standing.rollover
    if rollover is None:
        chatter("there was no roll-over yet")
        return Exit.OK
    table = Table("", "step", "by", "what", box=None, header_style="bold")
    names = [phase for phase, _, _ in steps(rollover.kind)]
    for phase, actor, what in steps(rollover.kind):
        is_past = rollover.phase == "done" or names.index(phase) < names.index(rollover.phase)
        table.add_row("✓" if is_past else "▸" if phase == rollover.phase else "", phase, actor, what)
    chatter(
        f"roll-over {rollover.id} of the {rollover.kind}: {rollover.old.issuer} → {rollover.new.issuer}{_way(rollover)}"
    )
    console().print(table)
    for who in waits:
        chatter(f"waits for {who}")
    return Exit.FINDINGS if waits else Exit.OK


def _settling(rollover: Rollover, settle: str | None) -> Rollover:
    """Return a roll-over with another time to settle, where one is said."""
    return rollover if settle is None else replace(rollover, settle=duration("--settle", settle).total_seconds())


def _way(rollover: Rollover) -> str:
    return (", being rolled back" if rollover.back else "") + (", paused" if rollover.paused else "")


def _pair(state: StateFolder, there: Target, wish: Wish) -> tuple[CaRef, CaRef]:
    """Return the CA that signs now, and the names of the one that is to come; leaves with what is in the way."""
    if wish.kind == "vault":
        return _to_vault(state, there)
    try:
        old = replace(operator_of(there).present(), vault=_vault_in_use(state))
        if wish.kind == "intermediate":
            root_mount, root_issuer = old.root_mount, old.root_issuer
        elif wish.root is not None:
            root_mount, _, root_issuer = wish.root.rpartition("/")
            if not root_mount:
                raise fail(Exit.USAGE, f"--new-root {wish.root!r}: MOUNT/ISSUER is taken, such as pki/root-2026")
        else:
            root_mount, root_issuer = ROOT_MOUNT, _next(there, ROOT_MOUNT, ROOT_ISSUER)
        return old, CaRef(_next(there, INT_MOUNT, ISSUER), root_issuer, root_mount, vault=old.vault)
    except (VaultError, CannotSetUp) as error:
        raise failed(error) from error


def _to_vault(state: StateFolder, there: Target) -> tuple[CaRef, CaRef]:
    """Return the CA of this host, and what is to be made in the other Vault: by other names, as lists go by them."""
    old = ask(certmgr_client(state).get("/ca", PresentCa)).ca
    if old.vault == there.server.address:
        raise fail(Exit.USAGE, f"{there.server.address} is the Vault that this mesh uses: --what root, or intermediate")
    number = int(old.issuer.rpartition("-")[2]) + 1
    return old, CaRef(f"int-{number}", f"root-{number}", vault=there.server.address)


def _vault_in_use(state: StateFolder) -> str:
    """Return the URL of the Vault that an earlier roll-over has led to; empty for that of certmgr's settings."""
    with suppress(ControlError):
        last = asyncio.run(standing_now(state)).rollover
        return kept(last).vault if last is not None else ""
    return ""


def join(state: StateFolder, there: Target) -> Exit:
    """Give the host of a state folder what it logs in to another Vault with, for a roll-over that leads there."""
    try:
        asyncio.run(give(state, there))
    except VaultError as error:
        raise failed(error) from error
    except ControlError as error:
        raise fail(Exit.UNREACHABLE, error.text) from error
    chatter(f"this host can log in to {there.server.address}")
    return Exit.OK


def _next(there: Target, mount: str, first: str) -> str:
    """Return the name after the last one of its row: `int-2` after `int-1`."""
    row = first.rpartition("-")[0]
    names = (str(issuer.get("issuer_name") or "").rpartition("-") for issuer in there.setup.issuers(mount))
    numbers = [int(number) for name, _, number in names if name == row and number.isdigit()]
    return f"{row}-{max(numbers, default=0) + 1}"
