"""The server under test, as its adapter's control port shows it.

An adapter is a program that runs the server and, beside it, a small HTTP service of JSON:

    GET    /                      {"name": "...", "address": "HOST:PORT", "lacks": {NEED: "why"}}
    PUT    /snapshots/NODE        {"resources": [{"type_url", "name", "body": base64, "ttl": seconds}]}: all it has now
    GET    /nodes/NODE            {"answers": [{"type_url", "error"}], "behind": "why it has not followed, or nothing"}
    GET    /load                  {"streams": 2, "watches": 4}: what all clients together hold of the server now
    POST   /servers               {"tls": {"ca", "certificate", "key"} or null}: {"address": "HOST:PORT"}
    DELETE /servers/HOST:PORT     drain that one: its streams end
    POST   /revocations           {"serial": "0a1b"}: no stream of this certificate any more

`POST /servers` starts one more server, a replica: it takes nothing over from the first but the snapshots, as they were
put. With `tls` it admits a node by its certificate alone: its SPIFFE ID ends in `/NODE`. What a server lacks it says
in `lacks`, by need: `delta`, `sotw`, `ads`, `single`, `record` (its own record of ACKs and NACKs), `replica`, `tls`,
`drain`, `ttl`. The cases that need it are n/a then.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx

from tests.conformance.content import KINDS, make


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server and its adapter are, and what it is."""

    name: str
    address: str
    control: str
    lacks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, control: str, address: str = "") -> "Target":
        """Ask an adapter what it runs; `address` overrides where it says that the server is."""
        said = httpx.get(f"{_url(control)}/", timeout=10, trust_env=False).raise_for_status().json()
        return cls(said["name"], address or said["address"], _url(control), said.get("lacks", {}))


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as an adapter gets it; `body` is the serialised proto, `ttl` seconds, 0 for none."""

    type_url: str
    name: str
    body: bytes
    ttl: float = 0

    def json(self) -> dict[str, object]:
        body = base64.b64encode(self.body).decode()
        return {"type_url": self.type_url, "name": self.name, "body": body, "ttl": self.ttl}


class Control:
    """The adapter's verbs."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def put(self, node: str, resources: Iterable[Resource]) -> None:
        body = {"resources": [resource.json() for resource in resources]}
        (await self._http.put(f"/snapshots/{node}", json=body)).raise_for_status()

    async def node(self, node: str) -> dict:
        return (await self._http.get(f"/nodes/{node}")).raise_for_status().json()

    async def load(self) -> tuple[int, int]:
        """Open streams and watches of all clients."""
        said = (await self._http.get("/load")).raise_for_status().json()
        return said["streams"], said["watches"]

    async def start(self, tls: Mapping[str, str] | None = None) -> str:
        said = (await self._http.post("/servers", json={"tls": tls})).raise_for_status().json()
        return said["address"]

    async def stop(self, address: str) -> None:
        (await self._http.delete(f"/servers/{address}")).raise_for_status()

    async def revoke(self, serial: str) -> None:
        (await self._http.post("/revocations", json={"serial": serial})).raise_for_status()


def resources(ttl: float, /, **kinds: Mapping[str, int]) -> list[Resource]:
    """Resources by kind, name and number: `resources(clusters={"a": 1}, endpoints={"a": 1})`."""
    return [
        Resource(KINDS[kind], name, make(KINDS[kind], name, value), ttl)
        for kind, named in kinds.items()
        for name, value in named.items()
    ]


def _url(control: str) -> str:
    return (control if "://" in control else f"http://{control}").rstrip("/")
