"""`circuit_breaker` to a cluster's thresholds."""

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh.model.circuit_breaker import CircuitBreaker

NO_LIMIT = 1_000_000
"""What no breaker of ours reaches: Envoy's defaults of 1024 (and 3 retries) would bind a mesh that asked for none."""


BATCHES = CircuitBreaker(max_pending_requests=16, max_requests=16)
"""Of spans or log records on their way at a time; what is beyond is dropped."""


def thresholds(asked: CircuitBreaker | None = None) -> CircuitBreakers:
    """Return the limits of one caller's proxy; whatever is not given has none."""
    asked = asked or CircuitBreaker()
    found = CircuitBreakers.Thresholds(
        max_connections=_limit(asked.max_connections),
        max_pending_requests=_limit(asked.max_pending_requests),
        max_requests=_limit(asked.max_requests),
        max_retries=_limit(asked.max_retries),
    )
    if (budget := asked.retry_budget) is not None:
        found.retry_budget.CopyFrom(
            CircuitBreakers.Thresholds.RetryBudget(
                budget_percent=Percent(value=budget.budget_percent),
                min_retry_concurrency=UInt32Value(value=budget.min_retry_concurrency),
            )
        )
    return CircuitBreakers(thresholds=[found])


def _limit(asked: int | None) -> UInt32Value:
    return UInt32Value(value=NO_LIMIT if asked is None else asked)
