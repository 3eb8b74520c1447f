"""What types cannot see in what a row of `routes` does: actions that exclude each other, versions that nobody runs."""

from collections.abc import Iterable, Iterator

from legation.mesh.match_checks import regex_violations
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.route import Route
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.wording import among, either, shown

_STATUSES = (301, 302, 303, 307, 308)
_ASKING = ("split", "retry", "rewrite", "mirror", "websocket", "fault", "idle_timeout")
"""What has no meaning where no instance is asked."""


def action_violations(mesh: Mesh, name: str, route: Route, here: Path) -> Iterator[RuleViolation]:
    """Yield every broken rule of what a row does."""
    yield from _answered(route, here)
    yield from _rewrite(route, here)
    yield from _fault(route, (*here, "fault"))
    if route.mirror is not None:
        yield from version_violations(mesh, name, [(route.mirror.version, (*here, "mirror", "version"))])
    if route.redirect is not None and route.redirect.status not in _STATUSES:
        path: Path = (*here, "redirect", "status")
        message = f"{route.redirect.status} is none: write {either(map(str, _STATUSES))}"
        yield RuleViolation(path, message, (path,))


def version_violations(
    mesh: Mesh, name: str, versions: Iterable[tuple[str, Path]], *, at_key: bool = False
) -> Iterator[RuleViolation]:
    """Yield the versions that no workload of a service has, where it has workloads here."""
    known = tuple(dict.fromkeys(w.version for w in mesh.workloads if w.service == name))
    rests_on = tuple(("workloads", i, part) for i in range(len(mesh.workloads)) for part in ("service", "version"))
    for version, path in versions if known else ():
        if version not in known:
            message = f"no workload of {name} has version {shown(version)}{among(version, known)}"
            yield RuleViolation(path, message, (*rests_on, path), at_key=at_key)


def _answered(route: Route, here: Path) -> Iterator[RuleViolation]:
    both: tuple[Path, ...] = ((*here, "redirect"), (*here, "respond"))
    if route.redirect is not None and route.respond is not None:
        yield RuleViolation(both[1], "redirect and respond exclude each other: leave one out", both, at_key=True)
    if not route.is_answered:
        return
    answer = "redirect" if route.redirect is not None else "respond"
    for field in _ASKING:
        if getattr(route, field):
            message = f"not looked at beside {answer}, which asks no instance: leave it out"
            yield RuleViolation((*here, field), message, ((*here, field), (*here, answer)), at_key=True)


def _rewrite(route: Route, here: Path) -> Iterator[RuleViolation]:
    asked, path = route.rewrite, (*here, "rewrite")
    if asked is not None and len(asked.paths) > 1:
        message = f"{asked.paths[0]} and {asked.paths[1]} exclude each other: leave one out"
        yield RuleViolation((*path, asked.paths[1]), message, (path,), at_key=True)
    for field, given in (("rewrite", asked and asked.prefix), ("redirect", route.redirect and route.redirect.prefix)):
        if given and route.match.prefix is None and route.match.path is None:
            message = "no prefix matches here that it could stand for: write match.prefix too"
            yield RuleViolation((*here, field, "prefix"), message, ((*here, field), (*here, "match")))
    if asked is not None and asked.template is not None and route.match.template is None:
        message = "its {names} are those of match.template: write that too"
        yield RuleViolation((*path, "template"), message, (path, (*here, "match")))
    if asked is not None and asked.regex is not None:
        yield from regex_violations(asked.regex.pattern, (*path, "regex", "pattern"))
    if route.redirect is not None and route.redirect.path is not None and route.redirect.prefix is not None:
        where: Path = (*here, "redirect", "prefix")
        yield RuleViolation(where, "path and prefix exclude each other: leave one out", (where,), at_key=True)


def _fault(route: Route, here: Path) -> Iterator[RuleViolation]:
    asked = route.fault
    if asked is None:
        return
    if asked.delay is None and asked.abort is None:
        yield RuleViolation(here, "empty: write delay, abort or both", (here,))
    if asked.abort is not None and (asked.abort.status is None) == (asked.abort.grpc_status is None):
        yield RuleViolation((*here, "abort"), "write status or grpc_status, and not both", ((*here, "abort"),))
