"""The state-of-the-world variant: requests say all names, responses of some types all resources.

xDS protocol, "SotW: resource_names" and "ACK/NACK and resource type instance version". What is
due, in which order, and what an answer means is the same as in delta.
"""

from xds_server.protocol.manner import SOTW
from xds_server.protocol.stream import XdsStream
from xds_server.protocol.types import DeltaRequest, Effect, LimitExceeded, Limits, SotwRequest
from xds_server.protocol.watch import Watch

_DEFAULT = Limits()


class SotwStream(XdsStream):
    """One state-of-the-world stream."""

    def __init__(self, limits: Limits = _DEFAULT) -> None:
        """Start before the first request and the first snapshot."""
        super().__init__(SOTW, limits)

    def receive(self, request: SotwRequest) -> tuple[Effect, ...]:
        """Take a request and return what is worth observing of it; after LimitExceeded the stream is of no more use."""
        if len(request.names) > self._limits.names:
            raise LimitExceeded(f"{len(request.names)} resource names in one request; at most {self._limits.names}")
        watch = self._watches.get(request.type_url)
        if watch is None:
            return self._open(request)
        if request.nonce and request.nonce != watch.acks.newest:
            return self._overtaken(watch, request)
        subscribe, unsubscribe = watch.subscription.restate(request.names)
        answers = request.nonce in watch.acks.pending
        watch.acks.supersede(request.nonce)
        return self._take(
            DeltaRequest(
                request.type_url,
                subscribe,
                unsubscribe,
                nonce=request.nonce if answers else "",
                error=request.error if answers else None,
            )
        )

    def _open(self, request: SotwRequest) -> tuple[Effect, ...]:
        """Take a type's first request: its version is what the client holds from another stream."""
        effects = self._take(DeltaRequest(request.type_url, request.names, nonce=request.nonce, error=request.error))
        self._watches[request.type_url].hold(request.version)
        return effects

    def _overtaken(self, watch: Watch, request: SotwRequest) -> tuple[Effect, ...]:
        """Take an answer to a response that a newer one has followed: its names do not count.

        The client will say them again with the newer nonce (xDS protocol, "When to send an update": a request
        with a stale nonce is not answered).
        """
        watch.acks.supersede(request.nonce)
        return self._take(DeltaRequest(watch.type_url, nonce=request.nonce, error=request.error))
