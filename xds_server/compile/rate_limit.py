"""`rate_limit` to Envoy's local rate limit, in front of the app and behind access control."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption, RuntimeFractionalPercent
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import XRateLimitHeadersRFCVersion
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.v3.percent_pb2 import FractionalPercent
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.rate_limit import LocalRateLimit as Local
from legation.mesh.model.rate_limit import RateLimit
from xds_server.compile.pack import duration, pack

_DRAFT_03 = XRateLimitHeadersRFCVersion.DRAFT_VERSION_03
_SLOW = timedelta(seconds=1)
"""A token that takes longer: how much longer is news to who is refused. Headers count in seconds."""


def rate_limits(asked: RateLimit | None) -> Sequence[HttpFilter]:
    """Return the filters of an inbound listener; none without a limit."""
    if asked is None or asked.local is None:
        return ()
    local, always = asked.local, RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
    is_slow = local.per > _SLOW * local.requests
    config = LocalRateLimit(
        stat_prefix=names.INBOUND,
        token_bucket=TokenBucket(
            max_tokens=_most(local),
            tokens_per_fill=UInt32Value(value=local.requests),
            fill_interval=duration(local.per),
        ),
        filter_enabled=always,
        filter_enforced=always,
        # on every answer, which costs the two proxies of a request more than all else here does (docs/bench.md)
        enable_x_ratelimit_headers=_DRAFT_03 if is_slow else XRateLimitHeadersRFCVersion.OFF,
        response_headers_to_add=() if is_slow else _of_a_refusal(local),
        rate_limited_as_resource_exhausted=True,
    )
    return (HttpFilter(name="envoy.filters.http.local_ratelimit", typed_config=pack(config)),)


def _most(local: Local) -> int:
    return local.burst or local.requests


def _of_a_refusal(local: Local) -> Iterator[HeaderValueOption]:
    """Yield the same headers for an answer above the limit: nothing is left then, and a token comes within a second."""
    for name, value in (("limit", _most(local)), ("remaining", 0), ("reset", _SLOW.seconds)):
        yield HeaderValueOption(header=HeaderValue(key=f"x-ratelimit-{name}", value=str(value)))
