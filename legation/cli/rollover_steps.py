"""The operator's steps of a roll-over, and how it is followed: what `legation certs rollover` does once one goes on."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from certmgr.core.rollover import ACTORS, WORDS, following, prepared, waits_for
from certmgr.core.setup import CannotSetUp
from certmgr.issue.rollover import Operator
from certmgr.issue.vault import Denied, Unreachable, VaultError
from legation.cli.certs import Target
from legation.cli.output import Exit, chatter, fail
from legation.mesh.rollover import Rollover, Standing
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.rollover_messages import RolloverMove, RolloverView, VaultCredentials
from legation.runtime.state import StateFolder

T = TypeVar("T")
_TRIES = 20
"""More than a roll-over has phases, there and back."""


async def give(state: StateFolder, there: Target) -> None:
    """Give this host's certmgr a credential of its own for a Vault, wrapped: what it uses is made there anew."""
    role_id, wrapped = await asyncio.to_thread(there.setup.host_credentials)
    ca = await asyncio.to_thread(ca_of, there)
    said = VaultCredentials(url=there.server.address, ca=ca, role_id=role_id, wrapped_secret_id=wrapped)
    await certmgr_client(state).tell("PUT", "/vaults", said)


def ca_of(there: Target) -> str:
    """Return the CA by which the operator's Vault is verified; empty for the system's."""
    return Path(there.vault.address.ca).read_text() if there.vault.address.ca else ""


def operator_of(there: Target) -> Operator:
    """Return who takes the steps that need the operator's token."""
    return Operator(there.vault, there.token, there.setup, there.authority)


def drive(state: StateFolder, there: Target | None, *, wait: bool) -> Exit:
    """Take the operator's steps and show the others, until nobody is needed any more."""
    try:
        return asyncio.run(_follow(state, there, wait=wait))
    except (VaultError, CannotSetUp) as error:
        raise failed(error) from error
    except ControlError as error:
        raise fail(Exit.UNREACHABLE, error.text) from error
    except KeyboardInterrupt:
        chatter("it goes on without you as far as it can; legation certs rollover continue takes it up again")
        return Exit.FINDINGS


async def _follow(state: StateFolder, there: Target | None, *, wait: bool) -> Exit:
    said: tuple[str, ...] = ()
    acted = -1
    async for view in xds_client(state).watch("/rollover/watch", RolloverView):
        standing = view.standing
        if standing.version <= acted:  # it was sent before our own step was taken
            continue
        rollover = running(standing)
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
    operator, now = operator_of(there), time.time()
    match rollover.phase:
        case "prepare":
            new = await asyncio.to_thread(partial(operator.prepare, rollover, now))
            if rollover.kind == "vault":
                await give(state, there)
            after = prepared(rollover, new, now)
        case "switch":
            await asyncio.to_thread(operator.switch, rollover)
            after = following(rollover, now)
        case _:
            await asyncio.to_thread(operator.retire, rollover)
            after = following(rollover, now)
    await move(state, standing, after)  # where somebody was faster, the next event says where it is now


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


def running(standing: Standing) -> Rollover:
    """Return the roll-over that goes on; leaves with a message where there is none."""
    if standing.rollover is None:
        raise fail(Exit.USAGE, "there is no roll-over: begin one with legation certs rollover start")
    return standing.rollover


def failed(error: Exception) -> Exception:
    """Return how to leave after an error of Vault's."""
    if isinstance(error, Denied):
        return fail(Exit.FINDINGS, f"{error}: the token may not do this; docs/vault.md has the policy that can")
    return fail(Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.FINDINGS, str(error))


def certmgr_client(state: StateFolder) -> ControlClient:
    """Return what asks this host's certmgr."""
    return ControlClient(state.control("certmgr"))


def xds_client(state: StateFolder) -> ControlClient:
    """Return what asks this host's xds_server."""
    return ControlClient(state.control("xds_server"))


async def standing_now(state: StateFolder) -> Standing:
    """Return where the mesh's roll-over stands."""
    return (await xds_client(state).get("/rollover", RolloverView)).standing


async def move(state: StateFolder, known: Standing, rollover: Rollover) -> bool:
    """Take a step from where it is known to stand; say whether it stood there still."""
    step = RolloverMove(version=known.version, rollover=rollover)
    try:
        await xds_client(state).send("PUT", "/rollover", step, RolloverView)
    except ControlError as error:
        if error.status != 409:
            raise
        return False
    return True


async def change(state: StateFolder, wish: Callable[[Standing], Rollover]) -> Rollover:
    """Have the roll-over be what `wish` makes of where it stands, and return it; made anew where others were faster.

    They move it a phase at a time, so whoever asks again soon gets his turn. Whatever `wish` raises ends it.
    """
    for _ in range(_TRIES):
        known = await standing_now(state)
        rollover = wish(known)
        if rollover == known.rollover or await move(state, known, rollover):
            return rollover
    raise ControlError(409, f"others have moved the roll-over {_TRIES} times meanwhile: ask again")


def ask(work: Coroutine[Any, Any, T]) -> T:
    """Return an answer of xds_server; leaves with its words where it says no, and with 4 where it is away."""
    try:
        return asyncio.run(work)
    except ControlError as error:
        code = {404: Exit.USAGE, 409: Exit.USAGE}.get(error.status, Exit.UNREACHABLE)
        raise fail(code, f"{error.text} (a roll-over is asked for on the host of xds_server)") from error
