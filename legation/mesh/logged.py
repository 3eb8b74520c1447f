"""The letters by which a proxy says to telemetry what it knows of a request: names cost it as much as values do.

No letter ever means anything else, as proxies with an older configuration go on beside others. A name without a letter
is taken as it is.
"""

from collections.abc import Mapping

LETTERS: Mapping[str, str] = {
    "attempts": "a", "authority": "h", "bytes_received": "i", "bytes_sent": "o", "client": "c", "cluster": "k",
    "details": "d", "direction": "w", "duration_ms": "t", "flags": "f", "grpc_status": "g", "method": "m", "path": "p",
    "peer": "n", "protocol": "l", "request_id": "r", "route": "e", "status": "s", "traceparent": "z",
    "transport_failure": "x",
    "unavailable": "q", "upstream": "u", "upstream_instance": "j", "upstream_ms": "b", "version": "v",
}  # fmt: skip
SAID = "said"
"""The attribute of a record that is all of it; proxies with an older configuration have it as its body."""
NAMES: Mapping[str, str] = {letter: name for name, letter in LETTERS.items()}
