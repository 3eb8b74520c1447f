"""When and how one instance ends."""

import asyncio
import signal
from collections.abc import Awaitable, Mapping
from typing import TypeVar

import structlog

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.runtime import http
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import Replacement
from legation.runtime.tasks import pause, until
from legation.sidecar import drain, handover
from legation.sidecar.app import AppProcess
from legation.sidecar.drain import Drain, Step
from legation.sidecar.envoy import EnvoyProcess
from legation.sidecar.registration import Registration
from legation.sidecar.settings import RunSettings

log = structlog.get_logger()

_SAMPLE_EVERY = 0.05
_QUEUE_LIMIT = 0.5

T = TypeVar("T")


class Termination:
    """SIGTERM and SIGINT: the first asks for an end, which may wait for a successor; the second means now."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked, self.now = asyncio.Event(), asyncio.Event()

    @classmethod
    def on_signals(cls) -> "Termination":
        """Return the termination that this process's signals ask for."""
        termination = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, termination.ask)
        return termination

    def ask(self) -> None:
        """Take a signal."""
        (self.now if self.asked.is_set() else self.asked).set()

    async def due(self, settings: RunSettings) -> None:
        """Return when the instance is to drain: at once, or where a host replaces it, when the host says so."""
        await self.asked.wait()
        if settings.supervised and await self._has_successor(settings):
            log.info("serving until the successor is ready")
            await self.now.wait()

    async def _has_successor(self, settings: RunSettings) -> bool:
        """Ask the host for a successor; say whether one is to come, so that this instance goes on serving."""
        host = ControlClient(settings.state.control("host"), 5.0)
        try:
            answer = await host.send("POST", f"/instances/{settings.spec.id}/replace", None, Replacement)
        except ControlError as error:
            log.warning("no successor, draining now", error=str(error))
            return False
        return answer.wait


class Drainer:
    """Carries out the steps of the drain machine for one instance, in its order."""

    def __init__(
        self,
        spec: InstanceSpec,
        listener: str,
        registration: Registration,
        envoy: EnvoyProcess,
        app: AppProcess | None,
    ) -> None:
        """Prepare to end what runs."""
        self._spec, self._registration, self._envoy, self._app = spec, registration, envoy, app
        self._order = drain.GATEWAY if spec.service == names.GATEWAY else drain.SIDECAR
        prefix = f"http.{listener}[^.]*.downstream"
        self._requests, self._connections = f"{prefix}_rq_active", f"{prefix}_cx_active"

    async def run(self) -> None:
        """Drain and stop; nothing runs when this returns."""
        clock = asyncio.get_running_loop().time
        machine = Drain(clock(), self._order)
        while machine.step is not Step.DONE:
            if machine.step is Step.AWAIT_IDLE:
                await pause(_SAMPLE_EVERY)
                machine.active(*await self._in_flight(), clock())
            else:
                await self._carry_out(machine.step)
                machine.done(clock())

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Step.WITHDRAW:
                if unsynced := await self._registration.withdraw(drain.ACK_LIMIT):
                    log.warning("some proxies have not ACKed the withdrawal", unsynced=unsynced)
            case Step.DRAIN_LISTENERS:
                await _unless_gone(self._envoy.admin.drain_listeners())
            case Step.STOP_ACCEPTING:
                await self._stop_accepting()
            case Step.STOP_APP:
                if self._app is not None:
                    await self._app.stop(drain.APP_LIMIT)
            case Step.STOP_ENVOY:
                await self._envoy.stop(drain.ENVOY_LIMIT)
            case Step.AWAIT_IDLE | Step.DONE:
                raise AssertionError(f"step {step} is not carried out")

    async def _stop_accepting(self) -> None:
        """Close Envoy's share of the gateway's ports, once nothing waits on it.

        Where the kernel does not let us reach Envoy's sockets, they are closed as they are: what waits in
        a queue in that moment is reset.
        """
        pid = self._envoy.pid
        try:
            sockets = handover.listening_sockets(pid, self._spec.metrics_port) if pid else {}
            for sock in sockets.values():
                handover.refuse_new(sock)
        except OSError as error:
            log.warning("closing the port without a handover", error=str(error))
            sockets = {}

        async def accepted() -> bool:
            return not handover.waiting(sockets)

        await until(accepted, limit=_QUEUE_LIMIT, every=0.002)
        await _unless_gone(self._envoy.admin.stop_listeners())
        for sock in sockets.values():
            sock.close()

    async def _in_flight(self) -> tuple[int, int]:
        """Return the requests in flight and the connections: none when Envoy is gone, some when it does not say."""
        found = await _unless_gone(self._envoy.admin.stats(self._requests, self._connections))
        if found is None:
            return (0, 0) if self._envoy.pid is None else (1, 1)
        return _total(found, "_rq_active"), _total(found, "_cx_active")


def _total(found: Mapping[str, int], ending: str) -> int:
    """Return the sum of the statistics whose names end so: a gateway has them for each exposed service."""
    return sum(value for name, value in found.items() if name.endswith(ending))


async def _unless_gone(asked: Awaitable[T]) -> T | None:
    """Return an Envoy's answer, or None when it no longer gives one."""
    try:
        return await asked
    except http.HttpError:
        return None
