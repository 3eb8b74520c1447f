"""What types cannot see in `routes`: rows that no request reaches, splits that lead nowhere, idle retries."""

from collections.abc import Iterator
from datetime import timedelta
from typing import get_args

from legation.mesh.action_checks import action_violations, version_violations
from legation.mesh.match_checks import match_violations
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.retry import GRPC_CONDITIONS, TIMEOUT_CONDITIONS, RetryOn, RetryPolicy
from legation.mesh.model.route import Route
from legation.mesh.model.service import Service
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.types import format_duration
from legation.mesh.wording import dotted, either

NO_LIMIT = timedelta(0)
_CONDITIONS: tuple[RetryOn, ...] = get_args(RetryOn)


def route_violations(mesh: Mesh, name: str, service: Service) -> Iterator[RuleViolation]:
    """Yield every broken rule among the routes of a service."""
    here: Path = ("services", name, "routes")
    yield from _unreachable(service.routes, here)
    for i, route in enumerate(service.routes):
        yield from match_violations(route.match, (*here, i, "match"))
        yield from action_violations(mesh, name, route, (*here, i))
        yield from _split(mesh, name, route, (*here, i, "split"))
        if route.retry is not None:
            protocol: Path = ("services", name, "protocol")
            yield from _retry(route, route.retry, (*here, i))
            yield from _conditions(route.retry, service, (*here, i, "retry", "retry_on"), protocol)


def _unreachable(routes: tuple[Route, ...], here: Path) -> Iterator[RuleViolation]:
    seen: dict[str, int] = {}
    for i, route in enumerate(routes):
        path: Path = (*here, i)
        match: Path = (*path, "match")
        key = "" if route.match.takes_all else route.match.model_dump_json()
        for earlier, what in ((seen.get(""), "every request"), (seen.get(key), "the same requests")):
            if earlier is not None:
                message = f"never reached: {dotted((*here, earlier))} takes {what}, and the first that matches wins"
                yield RuleViolation(path, message, (match, (*here, earlier, "match")))
                break
        seen.setdefault(key, i)


def _split(mesh: Mesh, name: str, route: Route, here: Path) -> Iterator[RuleViolation]:
    total = sum(route.split.values())
    if route.split and total != 100:
        yield RuleViolation(here, f"adds up to {total}: the versions' shares must add up to 100", (here,))
    yield from version_violations(mesh, name, ((v, (*here, v)) for v in route.split), at_key=True)


def _retry(route: Route, retry: RetryPolicy, here: Path) -> Iterator[RuleViolation]:
    path: Path = (*here, "retry")
    each = retry.per_try_timeout
    if each is not None and NO_LIMIT < route.timeout < each:
        message = f"{format_duration(each)} is above the route's timeout of {format_duration(route.timeout)}"
        yield RuleViolation((*path, "per_try_timeout"), message, ((*path, "per_try_timeout"), (*here, "timeout")))
    if each is not None and retry.num_retries and retry.retry_on and not {*TIMEOUT_CONDITIONS} & {*retry.retry_on}:
        message = f"no try is repeated after it: retry_on needs one of {', '.join(TIMEOUT_CONDITIONS)}"
        yield RuleViolation((*path, "per_try_timeout"), message, ((*path, "per_try_timeout"), (*path, "retry_on")))
    if retry.hedge_on_per_try_timeout and each is None:
        message = "missing: a late try is one that is above it"
        yield RuleViolation((*path, "per_try_timeout"), message, (path,))
    if retry.retriable_status_codes and "retriable-status-codes" not in retry.retry_on:
        message = "not looked at: add retriable-status-codes to retry_on"
        yield RuleViolation((*path, "retriable_status_codes"), message, (path,))
    if "retriable-status-codes" in retry.retry_on and not retry.retriable_status_codes:
        yield RuleViolation((*path, "retriable_status_codes"), "missing: write the statuses, such as [503]", (path,))
    if retry.base_interval > retry.max_interval:
        both = (format_duration(retry.base_interval), format_duration(retry.max_interval))
        message = f"base_interval {both[0]} is above max_interval {both[1]}"
        yield RuleViolation(path, message, ((*path, "base_interval"), (*path, "max_interval")))


def _conditions(retry: RetryPolicy, service: Service, here: Path, protocol: Path) -> Iterator[RuleViolation]:
    usable: tuple[RetryOn, ...] = tuple(
        c for c in _CONDITIONS if service.protocol == "grpc" or c not in GRPC_CONDITIONS
    )
    if retry.num_retries and not retry.retry_on:
        yield RuleViolation(
            here, f"missing: say after which failures to try again: {either(usable)}", (here[:-1], protocol)
        )
    for i, condition in enumerate(retry.retry_on):
        if condition not in usable:
            message = f"{condition} is a grpc status, and this service speaks http: write {either(usable)}"
            yield RuleViolation((*here, i), message, ((*here, i), protocol))
