"""What a sidecar says to xds_server of its instance: level-triggered, so that a lost word is said again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import InstanceState, SidecarPlan, Transition, TransitionResult
from legation.runtime.tasks import backoff

log = structlog.get_logger()

_SAY_AGAIN = 5.0
"""Seconds after which the state is said again, for a registry that lost it."""

_VERBS: dict[InstanceState, str] = {"ready": "ready", "restarting": "restarting", "draining": "withdraw"}


class Registration:
    """One instance's word to the registry."""

    def __init__(self, client: ControlClient, instance: str, boot: str, state: Callable[[], InstanceState]) -> None:
        """Prepare to say what `state()` returns."""
        self._client, self._instance, self._boot, self._state = client, instance, boot, state
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Say the state again now."""
        self._changed.set()

    async def keep(self) -> None:
        """Say the state whenever it changes, and every few seconds, for ever."""
        while True:
            self._changed.clear()
            said = await self._say(self._state())
            # not wait_for: before Python 3.12 it loses a cancellation that comes together with the change
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAY_AGAIN if said else 0.1):
                    await self._changed.wait()

    async def withdraw(self, limit: float) -> tuple[str, ...]:
        """Have the instance withdrawn; return the proxies that have not ACKed that within `limit` seconds."""
        body = Transition(boot=self._boot, wait=limit)
        try:
            answer = await self._client.send(
                "POST", f"/instances/{self._instance}/withdraw", body, TransitionResult, limit + 2
            )
        except ControlError as error:
            log.warning("could not withdraw, going on", error=str(error))
            return ()
        return answer.unsynced

    async def _say(self, state: InstanceState) -> bool:
        if state not in _VERBS:
            return False
        body = Transition(boot=self._boot)
        try:
            await self._client.send("POST", f"/instances/{self._instance}/{_VERBS[state]}", body, TransitionResult)
        except ControlError as error:
            log.debug("registry does not take our state yet", state=state, error=str(error))
            return False
        return True


async def plan(client: ControlClient, service: str) -> SidecarPlan:
    """Return what xds_server knows of a service; waits until it answers. ControlError 404: no such service."""
    async for attempt in backoff(0.1, 2.0):
        try:
            return await client.get(f"/sidecars/{service}", SidecarPlan)
        except ControlError as error:
            if error.status == 404:
                raise
            if attempt % 10 == 3:
                log.warning("waiting for xds_server", error=str(error))
    raise AssertionError("backoff never ends")
