"""What a sidecar says to xds_server of its instance: level-triggered, so that a lost word is said again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import (
    InstanceState,
    RestartReason,
    SidecarPlan,
    SidecarRequest,
    Transition,
    TransitionResult,
)
from legation.runtime.tasks import backoff

log = structlog.get_logger()

_REPEAT = 15.0
"""Seconds after which the state is reported again, for a registry that lost it."""

_VERBS: dict[InstanceState, str] = {"ready": "ready", "restarting": "restarting", "draining": "withdraw"}


@dataclass(frozen=True, slots=True)
class Said:
    """What an instance says of itself."""

    state: InstanceState
    envoy_restarts: dict[RestartReason, int]


class Registration:
    """Reports one instance's state to the registry."""

    def __init__(
        self,
        client: ControlClient,
        spec: InstanceSpec,
        said: Callable[[], Said],
        told: Callable[[InstanceState], None] = lambda _: None,
    ) -> None:
        """Prepare to say what `said()` returns; `told` hears which state the registry has taken."""
        self._client, self._spec, self._said, self._told = client, spec, said, told
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Say the state again now."""
        self._changed.set()

    async def keep(self) -> None:
        """Say the state whenever it changes, and every few seconds, for ever."""
        while True:
            self._changed.clear()
            taken = await self._say(self._said().state)
            # not wait_for: before Python 3.12 it loses a cancellation that comes together with the change
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPEAT if taken else 0.1):
                    await self._changed.wait()

    async def withdraw(self, limit: float) -> tuple[str, ...]:
        """Have the instance withdrawn; return the proxies that have not ACKed that within `limit` seconds."""
        body = self._transition(limit)
        try:
            answer = await self._client.send(
                "POST", f"/instances/{self._spec.id}/withdraw", body, TransitionResult, limit + 2
            )
        except ControlError as error:
            log.warning("could not withdraw, going on", error=str(error))
            return ()
        return answer.unsynced

    async def _say(self, state: InstanceState) -> bool:
        if state not in _VERBS:
            return False
        target = f"/instances/{self._spec.id}/{_VERBS[state]}"
        try:
            await self._client.send("POST", target, self._transition(), TransitionResult)
        except ControlError as error:
            log.debug("registry does not take our state yet", state=state, error=str(error))
            return False
        self._told(state)
        return True

    def _transition(self, wait: float = 0) -> Transition:
        return Transition(boot=self._spec.boot, wait=wait, envoy_restarts=self._said().envoy_restarts)


async def plan(client: ControlClient, request: SidecarRequest) -> SidecarPlan:
    """Return what xds_server plans for an instance; waits until it answers.

    ControlError 404: no such service; 403: our certificate is not for it; 409: two that it calls cannot be told apart.
    """
    async for attempt in backoff(0.1, 2.0):
        try:
            return await client.send("POST", "/sidecars", request, SidecarPlan)
        except ControlError as error:
            if error.status in {403, 404, 409}:
                raise
            if attempt % 10 == 3:
                log.warning("waiting for xds_server", error=str(error))
    raise AssertionError("backoff never ends")
