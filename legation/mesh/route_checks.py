"""What types cannot see in `routes`: rows that no request reaches, splits that lead nowhere, idle retries."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import get_args

from legation.mesh.finding import Finding
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.retry import GRPC_CONDITIONS, TIMEOUT_CONDITIONS, RetryOn, RetryPolicy
from legation.mesh.model.route import Route, RouteMatch
from legation.mesh.model.service import Service
from legation.mesh.source import Path
from legation.mesh.types import format_duration
from legation.mesh.wording import among, dotted, either, shown

NO_LIMIT = timedelta(0)
_CONDITIONS: tuple[RetryOn, ...] = get_args(RetryOn)


def route_findings(mesh: Mesh, name: str, service: Service) -> Iterator[Finding]:
    """Yield every broken rule among the routes of a service."""
    here: Path = ("services", name, "routes")
    yield from _unreachable(service.routes, here)
    for i, route in enumerate(service.routes):
        yield from _match(route.match, (*here, i, "match"))
        yield from _split(mesh, name, route, (*here, i, "split"))
        if route.retry is not None:
            protocol: Path = ("services", name, "protocol")
            yield from _retry(route, route.retry, (*here, i))
            yield from _conditions(route.retry, service, (*here, i, "retry", "retry_on"), protocol)


def starred_paths(paths: Mapping[str, str | None], here: Path) -> Iterator[Finding]:
    """Yield the paths with a `*`, which Envoy would compare as a plain character."""
    for field, path in paths.items():
        if path is not None and "*" in path:
            message = f"{shown(path)} holds a *, which matches nothing but itself: write it without"
            yield Finding((*here, field), message, ((*here, field),))


def _unreachable(routes: tuple[Route, ...], here: Path) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, route in enumerate(routes):
        path: Path = (*here, i)
        match: Path = (*path, "match")
        key = "" if _takes_all(route.match) else route.match.model_dump_json()
        for earlier, what in ((seen.get(""), "every request"), (seen.get(key), "the same requests")):
            if earlier is not None:
                message = f"never reached: {dotted((*here, earlier))} takes {what}, and the first that matches wins"
                yield Finding(path, message, (match, (*here, earlier, "match")))
                break
        seen.setdefault(key, i)


def _takes_all(match: RouteMatch) -> bool:
    return match.path is None and match.prefix in (None, "/") and not match.headers and not match.methods


def _match(match: RouteMatch, here: Path) -> Iterator[Finding]:
    if match.path is not None and match.prefix is not None:
        message = "path and prefix exclude each other: leave one out"
        yield Finding((*here, "prefix"), message, ((*here, "path"), (*here, "prefix")), at_key=True)
    yield from starred_paths({"path": match.path, "prefix": match.prefix}, here)


def _split(mesh: Mesh, name: str, route: Route, here: Path) -> Iterator[Finding]:
    total = sum(route.split.values())
    if route.split and total != 100:
        yield Finding(here, f"adds up to {total}: the versions' shares must add up to 100", (here,))
    versions = tuple(dict.fromkeys(w.version for w in mesh.workloads if w.service == name))
    for version in route.split if versions else ():
        if version not in versions:
            message = f"no workload of {name} has version {shown(version)}{among(version, versions)}"
            yield Finding((*here, version), message, (*_workloads(mesh), (*here, version)), at_key=True)


def _workloads(mesh: Mesh) -> Iterator[Path]:
    return (("workloads", i, part) for i in range(len(mesh.workloads)) for part in ("service", "version"))


def _retry(route: Route, retry: RetryPolicy, here: Path) -> Iterator[Finding]:
    path: Path = (*here, "retry")
    each = retry.per_try_timeout
    if each is not None and NO_LIMIT < route.timeout < each:
        message = f"{format_duration(each)} is above the route's timeout of {format_duration(route.timeout)}"
        yield Finding((*path, "per_try_timeout"), message, ((*path, "per_try_timeout"), (*here, "timeout")))
    if each is not None and retry.num_retries and retry.retry_on and not {*TIMEOUT_CONDITIONS} & {*retry.retry_on}:
        message = f"no try is repeated after it: retry_on needs one of {', '.join(TIMEOUT_CONDITIONS)}"
        yield Finding((*path, "per_try_timeout"), message, ((*path, "per_try_timeout"), (*path, "retry_on")))
    if retry.base_interval > retry.max_interval:
        both = (format_duration(retry.base_interval), format_duration(retry.max_interval))
        message = f"base_interval {both[0]} is above max_interval {both[1]}"
        yield Finding(path, message, ((*path, "base_interval"), (*path, "max_interval")))


def _conditions(retry: RetryPolicy, service: Service, here: Path, protocol: Path) -> Iterator[Finding]:
    usable: tuple[RetryOn, ...] = tuple(
        c for c in _CONDITIONS if service.protocol == "grpc" or c not in GRPC_CONDITIONS
    )
    if retry.num_retries and not retry.retry_on:
        yield Finding(here, f"missing: say after which failures to try again: {either(usable)}", (here[:-1], protocol))
    for i, condition in enumerate(retry.retry_on):
        if condition not in usable:
            message = f"{condition} is a grpc status, and this service speaks http: write {either(usable)}"
            yield Finding((*here, i), message, ((*here, i), protocol))
