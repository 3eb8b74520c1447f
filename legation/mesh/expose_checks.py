"""What types cannot see in what the gateway offers: ports and hosts that two services both bind."""

from collections.abc import Iterator
from dataclasses import dataclass

from legation.mesh.model.expose import Expose
from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.wording import shown

_EVERYWHERE = "0.0.0.0"  # noqa: S104  compared, not bound


@dataclass(frozen=True, slots=True)
class _Binding:
    """A port that a service wants of the gateway, for itself or to send clients on to https."""

    service: str
    expose: Expose
    port: int
    field: Path
    is_tls: bool
    is_tcp: bool

    @property
    def here(self) -> Path:
        return ("services", self.service, "expose")

    @property
    def address(self) -> str:
        return str(self.expose.address)


def expose_violations(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield every broken rule about what the gateway offers."""
    yield from _certificates(mesh)
    earlier: dict[int, list[_Binding]] = {}
    for binding in _bindings(mesh):
        known = earlier.setdefault(binding.port, [])
        if (other := next((o for o in known if _meet(binding, o)), None)) is not None:
            message = _conflict(binding, other)
            if message is not None:
                yield RuleViolation(binding.field, message, (binding.here, other.here))
        known.append(binding)
    for bindings in earlier.values():
        yield from _hosts(bindings)


def _certificates(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield what is wrong with where certificates come from: two files, or certmgr, which needs to know the hosts."""
    for name, service in mesh.services.items():
        if (expose := service.expose) is None or (tls := expose.tls) is None:
            continue
        here: Path = ("services", name, "expose", "tls")
        given = [field for field in ("cert", "key") if getattr(tls, field) is not None]
        if tls.issuer is None and len(given) < 2:
            lacks = "cert and key, or issuer: certmgr" if not given else "cert" if given == ["key"] else "key"
            yield RuleViolation(here, f"{lacks} is missing: it says where the certificate comes from", ())
        if tls.issuer is not None and given:
            message = "certmgr issues the certificate already: leave issuer out, or cert and key"
            yield RuleViolation((*here, given[0]), message, ((*here, "issuer"),))
        if tls.issuer is not None and not expose.hosts:
            message = "certmgr issues certificates for hosts: name them in expose.hosts"
            yield RuleViolation((*here, "issuer"), message, ())


def _bindings(mesh: Mesh) -> Iterator[_Binding]:
    for name, service in mesh.services.items():
        if (expose := service.expose) is None:
            continue
        here: Path = ("services", name, "expose")
        is_tls, is_tcp = expose.tls is not None, service.protocol == "tcp"
        yield _Binding(name, expose, expose.port, (*here, "port"), is_tls, is_tcp)
        if expose.tls is not None and expose.tls.redirect_port is not None:
            field: Path = (*here, "tls", "redirect_port")
            yield _Binding(name, expose, expose.tls.redirect_port, field, is_tls=False, is_tcp=is_tcp)


def _meet(one: _Binding, other: _Binding) -> bool:
    """Say whether two bindings on one port cannot have listeners of their own: 0.0.0.0 takes all addresses."""
    return one.address == other.address or _EVERYWHERE in (one.address, other.address)


def _conflict(binding: _Binding, other: _Binding) -> str | None:
    """Return what is wrong with two bindings on one port; None where they can share it."""
    taken = f"{binding.port} is taken by services.{other.service}.expose"
    if other.service == binding.service:
        return f"{binding.port} is where TLS is spoken: redirect from another port"
    if binding.address != other.address:
        return f"{taken}: take another port, or another address"
    if not (binding.expose.hosts and other.expose.hosts):
        return f"{taken}: take another port, or another address, or name the hosts of both"
    if binding.is_tls != other.is_tls:
        return f"{taken} for {'TLS' if other.is_tls else 'plain text'}: take another port"
    if (binding.is_tcp or other.is_tcp) and not binding.is_tls:
        return f"{taken}, and connections of a tcp service name no host in plain text: take another port"
    return None


def _hosts(bindings: list[_Binding]) -> Iterator[RuleViolation]:
    """Yield hosts that are bound twice on one port."""
    first: dict[tuple[str, str], Path] = {}
    for binding in bindings:
        for i, host in enumerate(binding.expose.hosts):
            path: Path = (*binding.here, "hosts", i)
            earlier = first.setdefault((binding.address, host), path)
            if earlier != path:
                owner = "here" if earlier[1] == binding.service else f"services.{earlier[1]}'s"
                message = f"{shown(host)} is {owner} on port {binding.port} already: one host leads to one service"
                yield RuleViolation(path, message, (path, earlier))
