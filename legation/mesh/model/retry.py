"""`retry`: which failures a route's requests are tried again after, and how often."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Boolean, Integer, Interval, Method, Model

RetryOn = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]
"""Envoy's own words for `retry_on` (router filter, x-envoy-retry-on and x-envoy-retry-grpc-on)."""

GRPC_CONDITIONS: tuple[RetryOn, ...] = (
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
"""Those that look at a gRPC status, which plain HTTP does not have."""

TIMEOUT_CONDITIONS: tuple[RetryOn, ...] = ("5xx", "gateway-error", "reset")
"""Those under which a try that took longer than `per_try_timeout` is repeated (Envoy: x-envoy-retry-on)."""

IDEMPOTENT_METHODS: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
"""RFC 9110 §9.2.2."""


class RetryPolicy(Model):
    """How a route's failed requests are repeated.

    A request that no app can have received (connection refused, stream refused) is always
    tried again, whatever its method; `num_retries: 0` turns even that off.
    """

    retry_on: Annotated[tuple[RetryOn, ...], Field(description="failures after which to try again")] = ()
    num_retries: Annotated[Integer, Field(ge=0, le=10, description="tries after the first one")] = 1
    per_try_timeout: Annotated[
        Interval | None,
        Field(description="limit of each try of a request that may be repeated after it; none: the route's timeout"),
    ] = None
    methods: Annotated[
        tuple[Method, ...] | None,
        Field(description="methods to repeat; by default those that RFC 9110 calls idempotent, and POST for gRPC"),
    ] = None
    retriable_status_codes: Annotated[
        tuple[Annotated[Integer, Field(ge=400, le=599)], ...], Field(description="those of retriable-status-codes")
    ] = ()
    per_try_idle_timeout: Annotated[Interval | None, Field(description="limit of silence in each try")] = None
    retry_host_predicate: Annotated[
        Literal["previous_hosts", "any"], Field(description="previous_hosts: try another instance each time")
    ] = "previous_hosts"
    retry_priority: Annotated[
        Literal["previous_priorities"] | None, Field(description="also try zones and services that come later")
    ] = None
    hedge_on_per_try_timeout: Annotated[
        Boolean, Field(description="begin the next try when one is late, and take the first answer")
    ] = False
    base_interval: Annotated[Interval, Field(description="first back-off, jittered")] = timedelta(milliseconds=25)
    max_interval: Annotated[Interval, Field(description="longest back-off")] = timedelta(milliseconds=250)
