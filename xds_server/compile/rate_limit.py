"""`rate_limit` to Envoy's local rate limit, in front of the app and behind access control."""

from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import XRateLimitHeadersRFCVersion
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.v3.percent_pb2 import FractionalPercent
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.rate_limit import RateLimit
from xds_server.compile.pack import duration, pack


def rate_limits(asked: RateLimit | None) -> Sequence[HttpFilter]:
    """Return the filters of an inbound listener; none without a limit."""
    if asked is None or asked.local is None:
        return ()
    local, always = asked.local, RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
    config = LocalRateLimit(
        stat_prefix=names.INBOUND,
        token_bucket=TokenBucket(
            max_tokens=local.burst or local.requests,
            tokens_per_fill=UInt32Value(value=local.requests),
            fill_interval=duration(local.per),
        ),
        filter_enabled=always,
        filter_enforced=always,
        enable_x_ratelimit_headers=XRateLimitHeadersRFCVersion.DRAFT_VERSION_03,
        rate_limited_as_resource_exhausted=True,
    )
    return (HttpFilter(name="envoy.filters.http.local_ratelimit", typed_config=pack(config)),)
