"""What a sidecar says of its instance, from what it sees: no I/O."""

from dataclasses import dataclass, replace

from legation.runtime.control.messages import InstanceState


@dataclass(frozen=True, slots=True)
class Phase:
    """What is up of an instance. `has_app` is False for one without an app (a gateway).

    `apart` says that the app is in containers of its own, which start when they see this one up: callers have its
    address before.
    """

    has_app: bool
    apart: bool = False
    envoy_ready: bool = False
    app_ready: bool = False
    was_ready: bool = False
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return self.envoy_ready and (self.app_ready or not self.has_app)

    @property
    def state(self) -> InstanceState:
        """The state to report to the registry."""
        if self.draining:
            return "draining"
        if self.ready:
            return "ready"
        return "restarting" if self.was_ready or self.serves_without_app else "starting"

    @property
    def serves_without_app(self) -> bool:
        """Whether requests are taken though no app is there to have them: their callers are told to try again."""
        return self.apart and self.envoy_ready and not self.app_ready

    def with_envoy(self, ready: bool) -> "Phase":
        """Return the phase after Envoy became ready, or died."""
        return _remember(replace(self, envoy_ready=ready))

    def with_app(self, ready: bool) -> "Phase":
        """Return the phase after the app began to listen, or died."""
        return _remember(replace(self, app_ready=ready))

    def drained(self) -> "Phase":
        """Return the phase once the end was asked for."""
        return replace(self, draining=True)


def _remember(phase: Phase) -> Phase:
    """Keep that an instance was ready once: what comes after is a restart, not a start."""
    return replace(phase, was_ready=phase.was_ready or phase.ready)
