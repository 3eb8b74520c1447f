"""Which sockets of an app other hosts could reach past its sidecar."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

_LISTEN = b"0A"


@dataclass(frozen=True, slots=True, order=True)
class Listening:
    """A listening TCP socket. `waiting`: how many connections it has not accepted yet."""

    inode: int
    address: str
    port: int
    waiting: int = field(default=0, compare=False)

    @property
    def exposed(self) -> bool:
        """Whether it listens on more than loopback."""
        address = ip_address(self.address)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return not (mapped or address).is_loopback


def listening(rows: Iterable[bytes]) -> Iterator[Listening]:
    """Yield the listening sockets of the rows of /proc/net/tcp{,6} (proc(5)); stops at the first that does not listen.

    The kernel lists listening sockets first, so that a table of thousands of connections costs nothing.
    """
    for row in rows:
        fields = row.split()
        if len(fields) < 10 or fields[0] == b"sl":
            continue
        if fields[3] != _LISTEN:
            return
        address, _, port = fields[1].partition(b":")
        waiting = int(fields[4].rpartition(b":")[2], 16)
        yield Listening(int(fields[9]), _address(address.decode()), int(port, 16), waiting)


def _address(text: str) -> str:
    """Return an address from the kernel's hex words, each in host byte order (little-endian)."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    packed = b"".join(words)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def advice(service: str, sockets: Iterable[Listening]) -> str:
    """Return what is wrong with an app that listens for everybody, and how to mend it."""
    where = ", ".join(f"{s.address}:{s.port}" for s in sorted(sockets))
    return (
        f"{service}: the app listens on {where}, where requests reach it past its sidecar: no mTLS, no access control. "
        "It was stopped. Make it listen on the address in HOST and the port in PORT, "
        "e.g. server.listen(process.env.PORT, process.env.HOST) in Node.js"
    )
