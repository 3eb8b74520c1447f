"""The embedded OpenBao's own root: rolled over before it ends, by itself, through the ordinary roll-over.

Nobody on the host may make a root in an OpenBao that is set up. So a new one is started beside the old one, sets
itself up as that one did, and the mesh moves to it as it would to a Vault of a team's (`--what vault`). When that
is over the old one ends, and its keys with it.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from certmgr import generations
from certmgr.core.bundle import Damaged
from certmgr.core.own_root import have_ended, is_due
from certmgr.core.rollover import kept
from certmgr.core.setup import Authority, CannotSetUp
from certmgr.embedded import Embedded
from certmgr.issue.rollover import present_ca
from certmgr.issue.vault import AWAY, Vault, VaultError
from certmgr.store import Store
from certmgr.vaults import Vaults
from legation.mesh.rollover import CaRef, Rollover, Standing
from legation.runtime import embedded
from legation.runtime.clock import Clock
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.rollover_messages import RolloverMove, RolloverView
from legation.runtime.state import StateFolder
from legation.runtime.tasks import backoff, patiently, pause, until

log = structlog.get_logger(__name__)

_LOOK_EVERY = 5.0
"""Seconds between looks at the wall clock, which may be stepped under us."""
_FIRST_RETRY = 0.5
"""Seconds, at most, until a look that failed is repeated; later ones wait up to `_LOOK_EVERY`."""
_START_LIMIT = 60.0
"""Seconds that a new OpenBao may take to start."""


class CannotFollow(Exception):
    """Why no root can follow now; says what can be done."""


class OwnRoot:
    """Sees to it that the embedded OpenBao's root is followed by another one in time."""

    def __init__(
        self,
        state: StateFolder,
        vaults: Vaults,
        store: Store,
        xds: ControlClient,
        present: Callable[[], CaRef],
        clock: Clock,
    ) -> None:
        """Prepare; `present` blocks, and returns the CA that signs now."""
        self._state, self._vaults, self._store = state, vaults, store
        self._xds, self._present, self._clock = xds, present, clock
        self._authority: Authority | None = None
        self._settle = 0.0
        self._following = asyncio.Lock()

    def want(self, authority: Authority, settle: float) -> None:
        """Take whose root it is, and the seconds in which a roll-over can be called off."""
        self._authority, self._settle = authority, settle

    async def run(self) -> None:
        """Look now and then, for ever; where another Vault is in use there is nothing to do."""
        while self._vaults.generation is not None:
            async for _ in backoff(_FIRST_RETRY, _LOOK_EVERY):
                if self._vaults.generation is None or await self._looked():
                    break
            await pause(_LOOK_EVERY)

    async def _looked(self) -> bool:
        """Look; say whether that went well. Just after a host's start OpenBao may not serve yet."""
        try:
            await self._look()
        except (VaultError, CannotSetUp, CannotFollow, ControlError, Damaged, OSError) as error:
            log.warning("no root follows the embedded OpenBao's yet", reason=str(error))
            return False
        return True

    async def _look(self) -> None:
        roots = self._store.roots()
        if self._authority is None or not self._authority.dev or not roots:
            return
        standing = (await self._xds.get("/rollover", RolloverView)).standing
        last = standing.rollover
        if last is not None and last.phase != "done" and bygone(last, self._vaults.generation):
            await self._move(standing, replace(last, phase="done"))
        elif len(roots) == 1 and is_due(roots[0], self._clock.now(), last):
            await self.follow()

    async def follow(self) -> Rollover:
        """Have another root follow now: a new OpenBao is started, and a roll-over to it begins."""
        async with self._following:
            number, authority = self._vaults.generation, self._authority
            if number is None or authority is None or not authority.dev:
                raise CannotFollow("the CA is a team's own: legation certs rollover start --vault URL")
            standing = (await self._xds.get("/rollover", RolloverView)).standing
            if standing.rollover is not None and standing.rollover.phase != "done":
                raise CannotFollow(f"roll-over {standing.rollover.id} is at {standing.rollover.phase} already")
            old = await asyncio.to_thread(self._present)
            after = generations.after(self._state, number)
            with self._vaults.preparing(after):  # a look at the last roll-over may come in between: it is over
                new = await self._prepared(authority, old, after)
                return await self._begin(standing, old, new)

    async def _prepared(self, authority: Authority, old: CaRef, number: int) -> CaRef:
        """Return the CA of another OpenBao, which is started and set up for it; its names are the next of their row."""
        vault = Vault(generations.address(self._state, number))

        async def serves() -> bool:
            return await asyncio.to_thread(vault.health) == "ok"

        if not await until(serves, _START_LIMIT, every=0.2):
            raise CannotFollow(f"{vault.address} is not up after {_START_LIMIT:.0f} s: does legation up run it")
        after = int(old.issuer.rpartition("-")[2]) + 1
        named = replace(authority, root_issuer=f"root-{after}", issuer=f"int-{after}")
        # one that is up may not lead yet
        made = partial(asyncio.to_thread, self._made, vault, named, number)
        return await patiently(made, _START_LIMIT, transient=AWAY)

    def _made(self, vault: Vault, authority: Authority, number: int) -> CaRef:
        """Set a new OpenBao up, again where that was cut off; return its CA. Blocks."""
        self._vaults.learn_embedded(number)
        fresh = Embedded(vault, self._state.openbao(number), self._vaults.way_in(number))
        if fresh.pending:
            fresh.set_up(authority, self._clock.now())
        return present_ca(vault, generations.url(number))

    async def _begin(self, standing: Standing, old: CaRef, new: CaRef) -> Rollover:
        now = self._clock.now()
        fresh = Rollover(secrets.token_hex(4), "vault", old, new, "trust", now, now, settle=self._settle, by="certmgr")
        await self._move(standing, fresh)
        log.info("another root follows the embedded OpenBao's", rollover=fresh.id, new=new.vault)
        return fresh

    async def _move(self, standing: Standing, rollover: Rollover) -> None:
        await self._xds.send(
            "PUT", "/rollover", RolloverMove(version=standing.version, rollover=rollover), RolloverView
        )


def begin_anew_where_ended(state: StateFolder, vaults: Vaults, store: Store, now: float) -> None:
    """Begin with a new embedded OpenBao where this host was off until the end of its root: nothing can go on from it.

    The roots are forgotten last, so that whoever dies in between does this again. Its number is above all that a
    roll-over may still speak of: one that was under way had two.
    """
    number = vaults.generation
    try:
        roots = store.roots()
    except Damaged:
        return
    if number is None or not have_ended(roots, now):
        return
    log.warning(
        "the root of the embedded OpenBao has ended while this host was off: a new one is made, and every "
        "certificate is issued anew. Who trusts the old one needs the new one",
        ended=roots[-1].not_valid_after_utc.isoformat(),
        root=str(store.root_file),
    )
    vaults.begin_with(max(number, *embedded.desired(state)) + 1)
    store.begin_anew()


def bygone(rollover: Rollover, generation: int | None) -> bool:
    """Say whether a roll-over was among embedded OpenBaos that are gone: nobody can take it any further.

    Of one that is over only the CA that stayed counts: where that is gone, it leads nobody back to it.
    """
    if generation is None or rollover.kind != "vault":
        return False
    used = (kept(rollover),) if rollover.phase == "done" else (rollover.old, rollover.new)
    numbers = (generations.number_of(ca.vault) or (1 if not ca.vault else None) for ca in used)
    return all(number is not None and number < generation for number in numbers)
