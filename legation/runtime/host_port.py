"""`host:port` as people write it, and back: an IPv6 address in brackets (RFC 3986 §3.2.2)."""

from legation.mesh import names

_LAST_PORT = 65535


def split(text: str, port: int | None = None, *, listens: bool = False) -> tuple[str, int]:
    """Return the host, without brackets, and the port; `port` is that of a text without one.

    Who `listens` may have port 0: one that is free. ValueError that says what is taken.
    """
    host, colon, digits = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, digits = text, "" if port is None else str(port)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == host and ":" in host:
        raise ValueError(f"{text!r}: HOST:PORT, and an IPv6 address in brackets, as [::1]:8080")
    usable = bare and not bare.isspace() and (bare == host or (":" in bare and names.is_ip(bare)))
    number = int(digits) if digits.isascii() and digits.isdigit() else _LAST_PORT + 1
    if not usable or number > _LAST_PORT or (number == 0 and not listens and number != port):
        raise ValueError(f"{text!r}: HOST:PORT, as 10.0.0.1:8080 or [::1]:8080")
    return bare, number


def join(host: str, port: int) -> str:
    """Return `host:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
