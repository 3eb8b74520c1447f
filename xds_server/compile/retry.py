"""`retry` to Envoy's retry policies.

Every request is repeated while no app can have received it: connection refused, stream refused,
reset before it was sent, or the callee's own proxy says that its app cannot be reached
(`RETRY_HEADER`). A route's `retry` adds conditions, and a limit of each try, for the methods that may
be repeated, and sets the number for all of them: `num_retries` more tries and not once more. A request
that may not be repeated has the route's whole timeout: an end of its only try would be its own.

Envoy 1.40 never starts a route's timeout for a request whose body ends while no try is under way
(router filter, onRequestComplete). So tries and their number are bounded here too, by about as much.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.config.route.v3.route_components_pb2 import RetryPolicy as RetryProto
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh.model.retry import IDEMPOTENT_METHODS, TIMEOUT_CONDITIONS, RetryPolicy
from legation.mesh.model.service import Protocol
from xds_server.compile.pack import duration, pack

RETRY_HEADER = "x-envoy-degraded"
"""Set by a callee's proxy on a response that it made because its app refused the connection.

One that Envoy knows by heart: for a name of ours it would make a table of every answer's headers. Beside us only
health checks look at it, which no app answers here; an app's own is dropped behind it.
"""

APP_UNREACHABLE = "app-unreachable"

SAFE_CONDITIONS = ("connect-failure", "refused-stream", "reset-before-request", "retriable-headers")
"""Failures after which no app can have received the request (Envoy: router filter, x-envoy-retry-on)."""

_FOR_EVER = 1_000
"""Tries of a request that may take any time: some minutes."""
_TRIES_A_SECOND = 5
"""Above the 4 that the default back-off makes on average, jittered up to half a second."""
_FIRST_TRIES = 8
"""Those in which the back-off grows, and some to spare: the timeout comes first."""
_BEFORE_TIMEOUT = timedelta(milliseconds=1)
"""Envoy ignores a limit of a try that is not below the route's timeout."""

_APP_TRIES = 2
"""More tries towards an app: another one at once, or the same, whose proxy sees only then that it has ended."""
_APP_BACK_OFF = timedelta(milliseconds=25)

_OTHER_HOST_TRIES = 20
"""Picks until another instance is found. `least_request` likes the dead one of two, which has nothing to do.

It picks the other one only once in four: with 5 picks, three retries in a row met the dead one in 1 of 200 requests.
"""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What holds for some methods (none: all that no rule before it named); no policy: never repeated."""

    methods: tuple[str, ...]
    policy: RetryProto | None
    hedges: bool = False


def until(timeout: timedelta) -> RetryPolicy:
    """Return what holds without `retry`: a request waits for an instance as long as its own timeout allows."""
    tries = _FIRST_TRIES + ceil(_TRIES_A_SECOND * timeout.total_seconds()) if timeout else _FOR_EVER
    return RetryPolicy.model_construct(
        num_retries=tries,
        base_interval=timedelta(milliseconds=25),
        max_interval=timedelta(milliseconds=500),
        methods=(),
    )


def retry_rules(retry: RetryPolicy | None, protocol: Protocol, timeout: timedelta) -> tuple[RetryRule, ...]:
    """Return the rules of a route; the first that names a request's method holds. One Envoy route each."""
    asked = retry or until(timeout)
    if asked.num_retries == 0:
        return (RetryRule((), None),)
    safe, full = _policy(asked, (), timeout), _policy(asked, asked.retry_on, timeout)
    if asked.methods is None and protocol == "grpc":
        return (RetryRule((), full, asked.hedge_on_per_try_timeout),)
    methods = IDEMPOTENT_METHODS if asked.methods is None else asked.methods
    if not methods or safe == full:
        return (RetryRule((), safe),)
    return (RetryRule(methods, full, asked.hedge_on_per_try_timeout), RetryRule((), safe))


def outside_policy(retry: RetryPolicy, timeout: timedelta) -> RetryProto:
    """Return what holds for a server outside the mesh: only what it cannot have seen is repeated."""
    return _without_promises(_policy(retry, (), timeout))


def app_rules(protocol: Protocol) -> tuple[RetryRule, ...]:
    """Return what holds before apps that end without a word to their proxy: containers, which docker signals itself.

    Such an app closes connections that a request may just be using. Whether it had taken that request cannot be
    told over HTTP/1.1 (HTTP/2 says so), hence only one that may be repeated is (RFC 9110 §9.2.2).
    """
    safe = _app_policy(())
    if protocol != "http":
        return (RetryRule((), safe),)
    return (RetryRule(IDEMPOTENT_METHODS, _app_policy(("reset",))), RetryRule((), safe))


def _app_policy(conditions: tuple[str, ...]) -> RetryProto:
    asked = RetryPolicy.model_construct(
        num_retries=_APP_TRIES, base_interval=_APP_BACK_OFF, max_interval=_APP_BACK_OFF, methods=()
    )
    return _without_promises(_policy(asked, conditions, timedelta(0)))


def _without_promises(policy: RetryProto) -> RetryProto:
    """Return it for answers that no proxy of ours has made: none of them promises anything in a header."""
    found = RetryProto()
    found.CopyFrom(policy)
    del found.retriable_headers[:]
    found.retry_on = ",".join(word for word in found.retry_on.split(",") if word != "retriable-headers")
    return found


def _policy(retry: RetryPolicy, conditions: tuple[str, ...], timeout: timedelta) -> RetryProto:
    limit = _limit(retry.per_try_timeout if conditions else None, conditions, timeout)
    return RetryProto(
        retry_on=",".join(sorted({*SAFE_CONDITIONS, *conditions})),
        num_retries=UInt32Value(value=retry.num_retries),
        per_try_timeout=None if limit is None else duration(limit),
        per_try_idle_timeout=duration(idle) if conditions and (idle := retry.per_try_idle_timeout) else None,
        retriable_status_codes=sorted(retry.retriable_status_codes) if conditions else (),
        retriable_headers=[HeaderMatcher(name=RETRY_HEADER, present_match=True)],
        retry_host_predicate=_other_hosts(retry),
        retry_priority=_other_priorities(retry),
        host_selection_retry_max_attempts=_OTHER_HOST_TRIES,
        retry_back_off=RetryProto.RetryBackOff(
            base_interval=duration(retry.base_interval), max_interval=duration(retry.max_interval)
        ),
    )


def _limit(asked: timedelta | None, conditions: tuple[str, ...], timeout: timedelta) -> timedelta | None:
    """Return the limit of each try: by itself the request's, where a try that reaches it is not repeated."""
    if asked is not None or {*TIMEOUT_CONDITIONS} & {*conditions} or timeout <= _BEFORE_TIMEOUT:
        return asked
    return timeout - _BEFORE_TIMEOUT


def _other_hosts(retry: RetryPolicy) -> list[RetryProto.RetryHostPredicate]:
    if retry.retry_host_predicate == "any":
        return []
    name = "envoy.retry_host_predicates.previous_hosts"
    return [RetryProto.RetryHostPredicate(name=name, typed_config=pack(PreviousHostsPredicate()))]


def _other_priorities(retry: RetryPolicy) -> RetryProto.RetryPriority | None:
    if retry.retry_priority is None:
        return None
    config = pack(PreviousPrioritiesConfig(update_frequency=1))
    return RetryProto.RetryPriority(name="envoy.retry_priorities.previous_priorities", typed_config=config)
