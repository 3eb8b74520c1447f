"""The delta variant (xDS protocol, "Incremental xDS"): requests say what they change."""

from xds_server.protocol.manner import DELTA
from xds_server.protocol.stream import XdsStream
from xds_server.protocol.types import DeltaRequest, Effect, Limits

_DEFAULT = Limits()


class DeltaStream(XdsStream):
    """One delta stream."""

    def __init__(self, limits: Limits = _DEFAULT) -> None:
        """Start before the first request and the first snapshot."""
        super().__init__(DELTA, limits)

    def receive(self, request: DeltaRequest) -> tuple[Effect, ...]:
        """Take a request and return what is worth observing of it; LimitExceeded leaves all as it was.

        An answer to an unknown nonce is only `Stale`; what it subscribes to counts all the same.
        """
        return self._take(request)
