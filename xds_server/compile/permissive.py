"""`mtls`: whether plain text is let in beside mTLS, and who sends it.

A change of it changes a listener by one filter chain: Envoy keeps the connections of the other one.
"""

from datetime import timedelta

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch

from xds_server.compile.stats_logger import stats_logger

ENCRYPTED = FilterChainMatch(transport_protocol="tls")
PLAIN = FilterChainMatch(transport_protocol="raw_buffer")

BANNER_WAIT = timedelta(seconds=1)
"""How long a TCP service waits to see whether a client speaks TLS.

A sidecar says so at once; this leaves room for it to be sent again where it is lost. A client in plain text
that waits for a server's banner has it so much later.
"""

MOST_CALLERS = 500
"""Addresses that an instance counts by; of those beyond them it keeps no count."""

_CALLER = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"


def count_plaintext() -> AccessLog:
    """Return what counts requests (or connections) in plain text by the address that they come from."""
    counter = {"stat": {"name": "requests", "tags": [{"name": "source_address", "value_format": _CALLER}]}}
    scope = {"prefix": "plaintext", "max_counters": MOST_CALLERS}  # a sharing_name crashes `--mode validate` of 1.40
    return stats_logger({"stats_scope": scope, "counters": [{**counter, "value_fixed": 1}]})
