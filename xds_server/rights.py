"""Who may ask what of the control API from another host: a table, by the SPIFFE ID that the handshake has proved.

A sidecar may speak of its own service alone, and of an instance only where the registry knows it as that
service's. Nobody has more rights than here; on the unix socket, its owner has all of them, and on the one for readers
those of `READING`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from legation.mesh import names


class Call(NamedTuple):
    """A method, and the path of a route as it is written there."""

    method: str
    path: str


READ_MESH = Call("GET", "/mesh")
WATCH_MESH = Call("GET", "/mesh/watch")
APPLY = Call("PUT", "/mesh")
READ_INSTANCES = Call("GET", "/instances")
WATCH_INSTANCES = Call("GET", "/instances/watch")
TRANSITION = Call("POST", "/instances/{id}/{verb}")
PLAN = Call("POST", "/sidecars")
UNSYNCED = Call("GET", "/services/{service}/unsynced")
REVOKED = Call("PUT", "/revoked")
STATUS = Call("GET", "/status")
READ_ROLLOVER = Call("GET", "/rollover")
WATCH_ROLLOVER = Call("GET", "/rollover/watch")
MOVE_ROLLOVER = Call("PUT", "/rollover")
REPORT_ROLLOVER = Call("PUT", "/rollover/hosts")
FORGET_HOST = Call("DELETE", "/rollover/hosts/{host}")

READING = frozenset({READ_MESH, WATCH_MESH, READ_INSTANCES, WATCH_INSTANCES, READ_ROLLOVER, WATCH_ROLLOVER})
"""What may be asked on the socket for those that follow the mesh and change nothing of it."""

SIDECAR = frozenset({PLAN, TRANSITION})
"""What a service's sidecars and the gateways may ask, each for its own."""

RIGHTS: Mapping[str, frozenset[Call]] = {
    names.GATEWAY: SIDECAR,
    names.CERTMGR: frozenset({READ_MESH, WATCH_MESH, READ_INSTANCES, REVOKED})
    | {READ_ROLLOVER, WATCH_ROLLOVER, REPORT_ROLLOVER},
    names.TELEMETRY: frozenset({READ_MESH, WATCH_MESH, READ_INSTANCES, WATCH_INSTANCES}),
    names.HOST: frozenset({APPLY, READ_MESH, WATCH_MESH, READ_INSTANCES, WATCH_INSTANCES, UNSYNCED, STATUS}),
}
"""What each of our own components may ask; one that is not here may ask nothing."""


def may(name: str | None, call: Call, services: Mapping[str, object]) -> bool:
    """Say whether a service or component may ask something at all; None is nobody of this mesh."""
    if name is None:
        return False
    return call in RIGHTS.get(name, SIDECAR if name in services else frozenset())
