"""`circuit_breaker`: how much of a caller's load a service takes before the caller's own Envoy says no."""

from typing import Annotated

from pydantic import Field

from legation.mesh.types import Integer, Model

Limit = Annotated[Integer, Field(ge=0, le=1_000_000)]


class RetryBudget(Model):
    """How many retries may run at once, by the number of requests that do."""

    budget_percent: Annotated[Integer, Field(ge=1, le=100, description="per cent of the running requests")] = 20
    min_retry_concurrency: Annotated[
        Integer, Field(ge=0, le=1_000_000, description="so many at least, however few requests run")
    ] = 3


class CircuitBreaker(Model):
    """Envoy's thresholds, each for one caller's proxy and one version that `split` names; none given: no limit."""

    max_connections: Annotated[Limit | None, Field(description="connections; HTTP/2 carries many requests on one")] = (
        None
    )
    max_pending_requests: Annotated[Limit | None, Field(description="requests that wait for a connection")] = None
    max_requests: Annotated[Limit | None, Field(description="requests that run at once")] = None
    max_retries: Annotated[Limit | None, Field(description="retries that run at once")] = None
    retry_budget: Annotated[RetryBudget | None, Field(description="in place of max_retries: a share of the load")] = (
        None
    )
