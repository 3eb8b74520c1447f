"""What we ask of an Envoy's admin interface, over its 0600 unix socket (Envoy: operations/admin)."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from legation.runtime import http


@dataclass(frozen=True, slots=True)
class LeafCertificate:
    """The certificate that an Envoy presents now."""

    serial: str
    expires: datetime


class Admin:
    """One Envoy's admin interface; http.HttpError where it does not answer."""

    def __init__(self, socket: Path | str, limit: float = 2.0) -> None:
        """Talk to the Envoy behind a socket."""
        self._socket, self._limit = Path(socket), limit

    async def is_ready(self, listener: str) -> bool:
        """Say whether Envoy is live and a listener of that name is up."""
        try:
            if (await self._ask("GET", "/ready")).status != 200:
                return False
            statuses = json.loads((await self._ask("GET", "/listeners", {"format": "json"})).body)["listener_statuses"]
        except (http.HttpError, KeyError, ValueError):
            return False
        return any(status["name"].startswith(listener) for status in statuses)

    async def answers(self) -> None:
        """Return once Envoy has answered anything at all."""
        await self._ask("GET", "/ready")

    async def drain_listeners(self) -> None:
        """Ask peers to leave (GOAWAY, Connection: close) while everything is still served."""
        await self._ask("POST", "/drain_listeners?graceful&skip_exit&inboundonly")

    async def stop_listeners(self) -> None:
        """Close the inbound listeners' sockets at once; what is connected goes on."""
        await self._ask("POST", "/drain_listeners?inboundonly")

    async def stats(self, *names: str) -> dict[str, int]:
        """Return those counters and gauges that Envoy has, by name; a name may hold `[^.]*`."""
        pattern = "|".join(names).replace(".", r"\.")
        answer = await self._ask("GET", "/stats", {"filter": f"^({pattern})$"})
        rows = (line.partition(": ") for line in answer.text.splitlines())
        return {name: int(value) for name, _, value in rows}

    async def has_healthy_host(self, cluster: str) -> bool:
        """Say whether a cluster has a host that Envoy takes for healthy."""
        lines = (await self._ask("GET", "/clusters")).text.splitlines()
        return any(line.startswith(f"{cluster}::") and line.endswith("::health_flags::healthy") for line in lines)

    async def leaf(self, spiffe_id: str) -> LeafCertificate | None:
        """Return the certificate with a SPIFFE ID that Envoy presents, or None before it has one."""
        found = [
            chain
            for certificate in json.loads((await self._ask("GET", "/certs")).body).get("certificates", [])
            for chain in certificate.get("cert_chain", [])
            if any(san.get("uri") == spiffe_id for san in chain.get("subject_alt_names", []))
        ]
        newest = max(found, key=lambda chain: str(chain["expiration_time"]), default=None)
        return _leaf(newest) if newest else None

    async def _ask(self, method: str, target: str, query: dict[str, str] | None = None) -> http.Answer:
        return await http.request(self._socket, method, target, query=query, limit=self._limit)


def _leaf(chain: dict[str, str]) -> LeafCertificate:
    expires = datetime.fromisoformat(chain["expiration_time"]).astimezone(UTC)
    return LeafCertificate(chain["serial_number"].lower(), expires)
