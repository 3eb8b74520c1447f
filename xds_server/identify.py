"""Who opens a stream: node metadata held against the certificate. Pure."""

from collections.abc import Mapping

import msgspec

from legation.mesh import names
from legation.mesh.instance import InstanceSpec


class BadNode(Exception):
    """Node metadata that do not say what they must."""


def instance_of(node_id: str, metadata: Mapping[str, object]) -> InstanceSpec:
    """Return the instance that a stream's first message describes; BadNode says what is missing."""
    try:
        spec = msgspec.convert({**metadata, "id": node_id}, InstanceSpec)
    except msgspec.ValidationError as error:
        raise BadNode(f"node {node_id!r}: {error}; a bootstrap of ours (legation run) has it") from error
    empty = [name for name in ("service", "version", "boot", "address") if not getattr(spec, name)]
    if empty:
        raise BadNode(f"node {node_id!r}: metadata {', '.join(empty)} empty; a bootstrap of ours (legation run) has it")
    return spec


def rejection(node: InstanceSpec, peer: str | None, trust_domain: str) -> str | None:
    """Return why an instance may not have a stream under a verified SPIFFE ID; None: it may."""
    expected = names.spiffe_id(trust_domain, node.service)
    if peer != expected:
        return f"node {node.id!r} says it is {node.service!r}, which is {expected}, but its certificate is for {peer}"
    return None
