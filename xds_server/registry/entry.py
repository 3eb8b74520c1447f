"""One instance of the registry: a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import InstanceState, RestartReason
from xds_server.endpoint import Endpoint

_NOBODY = "127.0.0.1", 1
"""Where each caller is refused at once, by its own host, and tries again (tcpmux, which nobody serves)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An instance, what its sidecar said of it, and which of its streams are up.

    `lost_at` is when its last stream ended (seconds of a clock that nobody sets), None while one is up;
    `grace` is how long after that it stays; `overdue` says that it is over, and that the instance stays
    only because its version has no other.
    """

    node: InstanceSpec
    spiffe_id: str
    state: InstanceState = "starting"
    healthy: bool | None = None
    streams: frozenset[int] = frozenset()
    lost_at: float | None = None
    grace: float = 0.0
    overdue: bool = False
    envoy_restarts: Mapping[RestartReason, int] = field(default_factory=dict)
    endpoint: Endpoint = field(init=False, repr=False, compare=False)
    """The instance as its callers see it."""

    def __post_init__(self) -> None:
        """Make the endpoint once: each change of a service reads those of all its instances."""
        node, healthy = self.node, self.healthy is not False
        address, port = _NOBODY if self.makes_way else (node.address, node.port)
        endpoint = Endpoint(node.id, node.version, address, port, healthy, node.zone, self.ready)
        object.__setattr__(self, "endpoint", endpoint)

    def opened(self, stream: int) -> "Entry":
        """Return the entry with one more stream up."""
        return replace(self, streams=self.streams | {stream}, lost_at=None, overdue=False)

    def ended(self, stream: int, now: float, grace: float) -> "Entry":
        """Return the entry with one stream fewer; the last one's end starts its grace."""
        streams = self.streams - {stream}
        return replace(self, streams=streams, lost_at=None if streams else now, grace=grace)

    @property
    def leaves(self) -> bool:
        """Whether it ends and is no longer to be known to callers, even as the last one."""
        return self.state == "draining" and not self.makes_way

    @property
    def makes_way(self) -> bool:
        """Whether it ends in a container, which may be replaced without a word to us: its callers wait to see."""
        return self.state == "draining" and self.node.by_name

    @property
    def ready(self) -> bool:
        """Whether it takes requests, as far as is known: a lost one counts until its grace is over."""
        return self.state == "ready" and not self.overdue
