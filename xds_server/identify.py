"""Who opens a stream: node metadata held against the certificate. Pure."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

import msgspec

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.types import HOST_PATTERN

LONGEST = 253
"""Characters of an instance's id and of what else it says of itself in words."""

SHOWN = 100
"""Characters of what a node says that a message shows."""

_PLAIN = re.compile(rf"[!-~]{{0,{LONGEST}}}")
_NAME = re.compile(HOST_PATTERN.removesuffix("$"))
_LAST_PORT = 65535


class BadNode(Exception):
    """Node metadata that do not say what they must."""


def instance_of(node_id: str, metadata: Mapping[str, object]) -> InstanceSpec:
    """Return the instance that a stream's first message describes; BadNode says what is missing."""
    try:
        spec = msgspec.convert({**metadata, "id": node_id}, InstanceSpec)
    except msgspec.ValidationError as error:
        raise BadNode(f"node {node_id!r}: {error}; a bootstrap of ours (legation run) has it") from error
    empty = [name for name in ("id", "service", "version", "boot", "address") if not getattr(spec, name)]
    if empty:
        raise BadNode(f"node {node_id!r}: metadata {', '.join(empty)} empty; a bootstrap of ours (legation run) has it")
    if bad := tuple(_bad(spec)):
        raise BadNode(f"node {node_id[:SHOWN]!r}: {'; '.join(bad)}")
    return spec


def _bad(spec: InstanceSpec) -> Iterator[str]:
    """Yield what no other proxy could be given, or nobody be shown: callers' Envoys would NACK it, all for one."""
    for name in ("id", "service", "version", "boot", "zone"):
        if not _PLAIN.fullmatch(value := getattr(spec, name)):
            yield f"{name} {value[:SHOWN]!r} is not up to {LONGEST} printable characters without blanks"
    for name in ("address", "app_address"):
        named = name == "app_address" and spec.by_name
        if not (_is_address(value := getattr(spec, name)) or (named and _NAME.fullmatch(value))):
            yield f"{name} {value[:SHOWN]!r} is no address that can be connected to"
    ports = {"port": spec.port, "app_port": spec.app_port or 1, "metrics_port": spec.metrics_port or 1}
    ports |= {f"outbound_ports {service[:SHOWN]!r}": port for service, port in spec.outbound_ports.items()}
    yield from (f"{name} {port} is no port" for name, port in ports.items() if not 0 < port <= _LAST_PORT)


def _is_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast)


def rejection(node: InstanceSpec, peer: str | None, trust_domain: str) -> str | None:
    """Return why an instance may not have a stream under a verified SPIFFE ID; None: it may."""
    expected = names.spiffe_id(trust_domain, node.service)
    if peer != expected:
        return f"node {node.id!r} says it is {node.service!r}, which is {expected}, but its certificate is for {peer}"
    return None
