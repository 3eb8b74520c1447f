"""What a team's compose files say of the things that a mesh changes: values, read and merged as compose merges them.

Nothing else of them is looked at, as nothing else is changed (compose-spec: 05-services.md, 13-merge.md).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from legation.compose.tags import Override, Replacing

T = TypeVar("T")

DEFAULT_NETWORK = "default"
STARTED, COMPLETED = "service_started", "service_completed_successfully"
"""Until when one service waits for another."""

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<other>[^{}]*))?\})"
)
_SHORT = re.compile(r"(?:(?P<host>.*):)?(?P<target>[0-9]+)(?:/(?P<protocol>[a-z]+))?")


class BadCompose(Exception):
    """Files that are no compose files; the text says where and what would be accepted."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published port: `host` is what comes before the container's port, as it was written ("127.0.0.1:80", "")."""

    host: str
    target: int
    protocol: str = "tcp"

    def at(self, port: int) -> str:
        """Return the mapping to another port in a container."""
        return f"{self.host}:{port}" if self.host else str(port)

    def __str__(self) -> str:
        """Return it as people write it."""
        return self.at(self.target) + ("" if self.protocol == "tcp" else f"/{self.protocol}")


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service as far as a mesh is concerned. `networks` are its networks with its other names there.

    `replaces` are the keys whose values take the place of those in the files before.
    """

    name: str
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ports: tuple[Published, ...] = ()
    odd_ports: tuple[str, ...] = ()
    network_mode: str = ""
    links: tuple[str, ...] = ()
    depends_on: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    replaces: frozenset[str] = frozenset()

    @property
    def joined(self) -> Mapping[str, tuple[str, ...]]:
        """Its networks; the project's own where it names none."""
        return self.networks or {DEFAULT_NETWORK: ()}

    @property
    def linked(self) -> tuple[str, ...]:
        """Whom it waits for by a link alone (compose-spec: 05-services.md, links)."""
        targets = dict.fromkeys(link.partition(":")[0] for link in self.links)
        return tuple(name for name in targets if name not in self.depends_on)

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Whom it links to by another name, and that name."""
        links = (link.partition(":") for link in self.links)
        return tuple((target, alias) for target, _, alias in links if alias not in ("", target))

    @property
    def waits_for(self) -> Mapping[str, str]:
        """Whom it waits for, and until when."""
        return {**self.depends_on, **dict.fromkeys(self.linked, STARTED)}


@dataclass(frozen=True, slots=True)
class Project:
    """The services of some compose files."""

    services: Mapping[str, ComposeService]

    def needs(self, service: ComposeService) -> tuple[str, ...]:
        """Return whom a service waits for and goes on with: for a job that ends before it, whom that waits for."""
        jobs = self.jobs(service)
        waited = (name for each in (service, *(self.services[job] for job in jobs)) for name in each.waits_for)
        return tuple(dict.fromkeys(name for name in waited if name not in jobs))

    def jobs(self, service: ComposeService) -> tuple[str, ...]:
        """Return what must have ended well before a service starts."""
        found = dict[str, None]()
        for each in (waiting := [service]):  # which grows
            for name, until in each.waits_for.items():
                if until == COMPLETED and name in self.services and name not in found:
                    found[name] = None
                    waiting.append(self.services[name])
        return tuple(found)


def project(files: Iterable[tuple[str, Any]], environment: Mapping[str, str]) -> Project:
    """Return what files (name, value), each over those before it, say together; BadCompose says what is wrong."""
    merged: dict[str, ComposeService] = {}
    for name, value in files:
        services = value.get("services") if isinstance(value, Mapping) else None
        if not isinstance(services, Mapping) or not all(isinstance(s, Mapping | None) for s in services.values()):
            raise BadCompose(f"{name}: services is a mapping of names, each with a mapping, in a compose file")
        for service, given in services.items():
            said = _service(name, str(service), given or {}, environment)
            merged[said.name] = _over(merged[said.name], said) if said.name in merged else said
    return Project(merged)


def _over(first: ComposeService, second: ComposeService) -> ComposeService:
    nothing = ComposeService(first.name)

    def before(key: str) -> ComposeService:
        return nothing if key in second.replaces else first

    return replace(
        first,
        networks={**before("networks").networks, **second.networks},
        ports=_joined(before("ports").ports, second.ports),
        odd_ports=_joined(before("ports").odd_ports, second.odd_ports),
        network_mode=second.network_mode or first.network_mode,
        links=_joined(before("links").links, second.links),
        depends_on={**before("depends_on").depends_on, **second.depends_on},
        labels={**before("labels").labels, **second.labels},
        profiles=_joined(before("profiles").profiles, second.profiles),
    )


def _joined(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _service(file: str, name: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> ComposeService:
    ports = [(_port(port, environment), port) for port in _list(file, name, "ports", given)]
    return ComposeService(
        name=name,
        networks={n: _aliases(v) for n, v in _named(given.get("networks")).items()},
        ports=tuple(port for port, _ in ports if port is not None),
        odd_ports=tuple(str(raw) for port, raw in ports if port is None),
        network_mode=str(given.get("network_mode") or ""),
        links=tuple(str(link) for link in _list(file, name, "links", given)),
        depends_on=_dependencies(given.get("depends_on")),
        labels={k: str(v) for k, v in _labels(given.get("labels")).items()},
        profiles=tuple(str(profile) for profile in _list(file, name, "profiles", given)),
        replaces=frozenset(key for key, value in given.items() if isinstance(value, Override | Replacing)),
    )


def _list(file: str, service: str, what: str, given: Mapping[str, Any]) -> Sequence[Any]:
    found = given.get(what) or []
    if not isinstance(found, list):
        raise BadCompose(f"{file}: services.{service}.{what} is a list in a compose file")
    return found


def _named(given: Any) -> Mapping[str, Any]:
    """Return what may be written as a list of names, or as a mapping."""
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    return {str(name): None for name in given or ()}


def _dependencies(given: Any) -> Mapping[str, str]:
    said = {name: value if isinstance(value, Mapping) else {} for name, value in _named(given).items()}
    return {name: str(value.get("condition") or STARTED) for name, value in said.items()}


def _aliases(given: Any) -> tuple[str, ...]:
    return tuple(str(alias) for alias in (given or {}).get("aliases") or ()) if isinstance(given, Mapping) else ()


def _labels(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return {str(k): v for k, v in given.items()}
    return {name: value for name, _, value in (str(label).partition("=") for label in given or ())}


def _port(raw: Any, environment: Mapping[str, str]) -> Published | None:
    """Return a published port; None for what is no single one (a range)."""
    if isinstance(raw, Mapping):
        return _long_port(raw, environment)
    text = str(raw)
    match = _SHORT.fullmatch(text) or _SHORT.fullmatch(filled(text, environment))
    if match is None:
        return None
    return Published(match["host"] or "", int(match["target"]), match["protocol"] or "tcp")


def _long_port(raw: Mapping[str, Any], environment: Mapping[str, str]) -> Published | None:
    target, published = filled(str(raw.get("target", "")), environment), str(raw.get("published") or "")
    if not target.isdigit():
        return None
    host = f"{raw['host_ip']}:{published}" if raw.get("host_ip") else published
    return Published(host, int(target), str(raw.get("protocol") or "tcp"))


def filled(text: str, environment: Mapping[str, str]) -> str:
    """Return a text with its variables filled in (compose-spec: 12-interpolation.md)."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name, how = match["plain"] or match["name"], match["how"] or ""
        known = environment.get(name)
        is_set = bool(known) if how.startswith(":") else known is not None
        if how.endswith("-"):
            return known or "" if is_set else match["other"]
        if how.endswith("+"):
            return match["other"] if is_set else ""
        return known or ""

    return _VARIABLE.sub(value, text)
