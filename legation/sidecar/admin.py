"""What we ask of an Envoy's admin interface, over its 0600 unix socket (Envoy: operations/admin)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from legation.runtime.control import unix_client


@dataclass(frozen=True, slots=True)
class LeafCertificate:
    """The certificate that an Envoy presents now."""

    serial: str
    expires: datetime


class Admin:
    """One Envoy's admin interface; httpx.HTTPError where it does not answer."""

    def __init__(self, socket: Path | str, limit: float = 2.0) -> None:
        """Talk to the Envoy behind a socket."""
        self._http = unix_client(socket, limit)

    async def is_ready(self, listener: str) -> bool:
        """Say whether Envoy is live and a listener of that name is up."""
        try:
            if (await self._http.get("/ready")).status_code != 200:
                return False
            statuses = (await self._http.get("/listeners?format=json")).json()["listener_statuses"]
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return any(status["name"].startswith(listener) for status in statuses)

    async def drain_listeners(self) -> None:
        """Ask peers to leave (GOAWAY, Connection: close) while everything is still served."""
        await self._http.post("/drain_listeners?graceful&skip_exit&inboundonly")

    async def stat(self, name: str) -> int:
        """Return a counter or gauge; 0 when Envoy does not have it (yet)."""
        return (await self.stats(name)).get(name, 0)

    async def stats(self, *names: str) -> dict[str, int]:
        """Return those counters and gauges that Envoy has."""
        wanted = "|".join(names).replace(".", r"\.")
        answer = await self._http.get("/stats", params={"filter": f"^({wanted})$"})
        rows = (line.partition(": ") for line in answer.text.splitlines())
        return {name: int(value) for name, _, value in rows}

    async def leaf(self, spiffe_id: str) -> LeafCertificate | None:
        """Return the certificate with a SPIFFE ID that Envoy presents, or None before it has one."""
        found = [
            chain
            for certificate in (await self._http.get("/certs")).json().get("certificates", [])
            for chain in certificate.get("cert_chain", [])
            if any(san.get("uri") == spiffe_id for san in chain.get("subject_alt_names", []))
        ]
        newest = max(found, key=lambda chain: str(chain["expiration_time"]), default=None)
        return _leaf(newest) if newest else None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _leaf(chain: dict[str, str]) -> LeafCertificate:
    expires = datetime.fromisoformat(chain["expiration_time"]).astimezone(UTC)
    return LeafCertificate(chain["serial_number"].lower(), expires)
