"""`legation certs rollover`: another intermediate or root for the mesh, step by step, with nobody cut off.

The operator's token is in the memory of this command alone. What needs none goes on without it: the
command may end at any time, and `continue` takes up where the roll-over stands.
"""

import asyncio
import getpass
import secrets
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from certmgr.core.layout import INT_MOUNT, ISSUER, ROOT_ISSUER, ROOT_MOUNT
from certmgr.core.rollover import (
    ACTORS,
    WORDS,
    CannotRollOver,
    begin,
    called_off,
    following,
    kept,
    prepared,
    steps,
    waits_for,
)
from certmgr.core.setup import CannotSetUp
from certmgr.issue.rollover import Operator
from certmgr.issue.vault import Denied, Unreachable, VaultError
from legation.cli.certs import Target, duration
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.model.mesh import Mesh
from legation.mesh.rollover import CaRef, Kind, Rollover, Standing
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import Message
from legation.runtime.control.rollover_messages import PresentCa, RolloverMove, RolloverView, VaultCredentials
from legation.runtime.state import StateFolder

T = TypeVar("T")

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
    known = _ask(_view(state))
    old, new = _pair(state, there, wish)
    now = time.time()
    fresh = Rollover(
        secrets.token_hex(4), wish.kind, old, new, "prepare", now, now, settle=wish.settle, by=getpass.getuser()
    )
    try:
        _ask(_move(state, known, begin(known, fresh)))
    except CannotRollOver as error:
        raise fail(Exit.USAGE, str(error)) from error
    return _drive(state, there, wait=wait)


def start_own(state: StateFolder, settle: str | None, *, wait: bool) -> Exit:
    """Have another root follow the embedded OpenBao's now; it needs nobody, as when it comes by itself."""
    _ask(_certmgr(state).send("POST", "/root", None, RolloverView, limit=_START_LIMIT))
    if settle is not None:
        known = _ask(_view(state))
        _ask(_move(state, known, _settling(_running(known), settle)))
    return _drive(state, None, wait=wait)


def go_on(state: StateFolder, there: Target | None, settle: str | None, *, wait: bool) -> Exit:
    """Let a roll-over go on that is paused, or that waits for an operator."""
    known = _ask(_view(state))
    rollover = _running(known)
    after = _settling(replace(rollover, paused=False), settle)
    if after != rollover:
        _ask(_move(state, known, after))
    if there is None:
        return status(state, Format.TABLE)
    return _drive(state, there, wait=wait)


def pause(state: StateFolder) -> Exit:
    """Let a roll-over stay where it is; what its phase has everybody do, they do."""
    known = _ask(_view(state))
    _ask(_move(state, known, replace(_running(known), paused=True)))
    chatter("it stays where it is, until legation certs rollover continue")
    return Exit.OK


def roll_back(state: StateFolder, there: Target | None, settle: str | None, *, wait: bool) -> Exit:
    """Call a roll-over off: all the way back to the CA that was there before."""
    known = _ask(_view(state))
    if there is None and _running(known).kind != "vault":  # for that one each host turns back by itself
        raise fail(Exit.USAGE, "--vault URL is missing: an operator's token has the roles there sign as before")
    try:
        back = called_off(_settling(_running(known), settle), time.time())
    except CannotRollOver as error:
        raise fail(Exit.USAGE, str(error)) from error
    _ask(_move(state, known, back))
    return _drive(state, there, wait=wait)


def forget(state: StateFolder, host: str) -> Exit:
    """Wait no more for a host that will not come back."""
    _ask(_client(state).send("DELETE", f"/rollover/hosts/{host}", None, RolloverView))
    chatter(f"{host} is forgotten, until its certmgr says something again")
    return Exit.OK


def status(state: StateFolder, form: Format) -> Exit:
    """Show where a roll-over stands; exit code 3 while somebody is waited for."""
    standing = _ask(_view(state))
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
        old = replace(_operator(there).present(), vault=_vault_in_use(state))
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
        raise _failed(error) from error


def _to_vault(state: StateFolder, there: Target) -> tuple[CaRef, CaRef]:
    """Return the CA of this host, and what is to be made in the other Vault: by other names, as lists go by them."""
    old = _ask(_certmgr(state).get("/ca", PresentCa)).ca
    if old.vault == there.server.address:
        raise fail(Exit.USAGE, f"{there.server.address} is the Vault that this mesh uses: --what root, or intermediate")
    number = int(old.issuer.rpartition("-")[2]) + 1
    return old, CaRef(f"int-{number}", f"root-{number}", vault=there.server.address)


def _vault_in_use(state: StateFolder) -> str:
    """Return the URL of the Vault that an earlier roll-over has led to; empty for that of certmgr's settings."""
    with suppress(ControlError):
        last = asyncio.run(_view(state)).rollover
        return kept(last).vault if last is not None else ""
    return ""


def join(state: StateFolder, there: Target) -> Exit:
    """Give the host of a state folder what it logs in to another Vault with, for a roll-over that leads there."""
    try:
        asyncio.run(_give(state, there))
    except VaultError as error:
        raise _failed(error) from error
    except ControlError as error:
        raise fail(Exit.UNREACHABLE, error.text) from error
    chatter(f"this host can log in to {there.server.address}")
    return Exit.OK


async def _give(state: StateFolder, there: Target) -> None:
    """Give this host's certmgr a credential of its own for a Vault, wrapped: what it uses is made there anew."""
    role_id, wrapped = await asyncio.to_thread(there.setup.host_credentials)
    ca = await asyncio.to_thread(_ca_of, there)
    said = VaultCredentials(url=there.server.address, ca=ca, role_id=role_id, wrapped_secret_id=wrapped)
    await _certmgr(state).tell("PUT", "/vaults", said)


def _ca_of(there: Target) -> str:
    return Path(there.vault.address.ca).read_text() if there.vault.address.ca else ""


def _next(there: Target, mount: str, first: str) -> str:
    """Return the name after the last one of its row: `int-2` after `int-1`."""
    row = first.rpartition("-")[0]
    names = (str(issuer.get("issuer_name") or "").rpartition("-") for issuer in there.setup.issuers(mount))
    numbers = [int(number) for name, _, number in names if name == row and number.isdigit()]
    return f"{row}-{max(numbers, default=0) + 1}"


def _operator(there: Target) -> Operator:
    return Operator(there.vault, there.token, there.setup, there.authority)


def _drive(state: StateFolder, there: Target | None, *, wait: bool) -> Exit:
    """Take the operator's steps and show the others, until nobody is needed any more."""
    try:
        return asyncio.run(_follow(state, there, wait=wait))
    except (VaultError, CannotSetUp) as error:
        raise _failed(error) from error
    except ControlError as error:
        raise fail(Exit.UNREACHABLE, error.text) from error
    except KeyboardInterrupt:
        chatter("it goes on without you as far as it can; legation certs rollover continue takes it up again")
        return Exit.FINDINGS


async def _follow(state: StateFolder, there: Target | None, *, wait: bool) -> Exit:
    said: tuple[str, ...] = ()
    acted = -1
    async for view in _client(state).watch("/rollover/watch", RolloverView):
        standing = view.standing
        if standing.version <= acted:  # it was sent before our own step was taken
            continue
        rollover = _running(standing)
        words = (rollover.phase, *waits_for(standing, time.time()))
        if there is not None and ACTORS[rollover.phase] == "operator":
            if rollover.phase not in said[:1]:
                chatter(f"{rollover.phase}: {WORDS[rollover.phase]}")
            await _act(state, there, standing, rollover)
            acted = standing.version
        elif words != said:
            _tell(rollover, words[1:], news=said[:1] != words[:1])
        said = words
        if rollover.phase == "done" or (rollover.phase == "settle" and not wait) or rollover.paused:
            return _end(rollover)
    raise ControlError(0, "xds_server has ended: legation certs rollover continue takes it up again")


async def _act(state: StateFolder, there: Target, standing: Standing, rollover: Rollover) -> None:
    """Take one of the operator's steps, and say that it is taken; whoever dies in between takes it again."""
    operator, now = _operator(there), time.time()
    match rollover.phase:
        case "prepare":
            new = await asyncio.to_thread(partial(operator.prepare, rollover, now))
            if rollover.kind == "vault":
                await _give(state, there)
            after = prepared(rollover, new, now)
        case "switch":
            await asyncio.to_thread(operator.switch, rollover)
            after = following(rollover, now)
        case _:
            await asyncio.to_thread(operator.retire, rollover)
            after = following(rollover, now)
    await _move(state, standing, after)


def _tell(rollover: Rollover, waits: tuple[str, ...], *, news: bool) -> None:
    if news:
        chatter(f"{rollover.phase}: {WORDS[rollover.phase]}")
    for who in waits[:5]:
        chatter(f"  waits for {who}")
    if len(waits) > 5:
        chatter(f"  and for {len(waits) - 5} more")


def _end(rollover: Rollover) -> Exit:
    if rollover.phase == "done":
        chatter("it was rolled back" if rollover.back else f"the mesh's certificates are of {rollover.new.issuer} now")
        return Exit.OK
    if rollover.paused:
        chatter("it is paused: legation certs rollover continue")
        return Exit.FINDINGS
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(rollover.since + rollover.settle))
    chatter(
        f"nobody is needed any more: at {until} the old CA is dropped; legation certs rollover rollback, until then"
    )
    return Exit.OK


def _running(standing: Standing) -> Rollover:
    if standing.rollover is None:
        raise fail(Exit.USAGE, "there is no roll-over: begin one with legation certs rollover start")
    return standing.rollover


def _failed(error: Exception) -> Exception:
    if isinstance(error, Denied):
        return fail(Exit.FINDINGS, f"{error}: the token may not do this; docs/vault.md has the policy that can")
    return fail(Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.FINDINGS, str(error))


def _certmgr(state: StateFolder) -> ControlClient:
    return ControlClient(state.control("certmgr"))


def _client(state: StateFolder) -> ControlClient:
    return ControlClient(state.control("xds_server"))


async def _view(state: StateFolder) -> Standing:
    return (await _client(state).get("/rollover", RolloverView)).standing


async def _move(state: StateFolder, known: Standing, rollover: Rollover) -> None:
    move = RolloverMove(version=known.version, rollover=rollover)
    try:
        await _client(state).send("PUT", "/rollover", move, RolloverView)
    except ControlError as error:
        if error.status != 409:
            raise
        # somebody was faster; the next event says where it is now


def _ask(work: Coroutine[Any, Any, T]) -> T:
    """Return an answer of xds_server; leaves with its words where it says no, and with 4 where it is away."""
    try:
        return asyncio.run(work)
    except ControlError as error:
        code = {404: Exit.USAGE, 409: Exit.USAGE}.get(error.status, Exit.UNREACHABLE)
        raise fail(code, f"{error.text} (a roll-over is asked for on the host of xds_server)") from error
