"""Who opens a stream: node metadata held against the certificate. Pure."""

from collections.abc import Mapping

from legation.mesh import names
from xds_server.node import Node


class BadNode(Exception):
    """Node metadata that do not say what they must."""


def node_of(node_id: str, metadata: Mapping[str, object]) -> Node:
    """Return the node that a stream's first message describes; BadNode says what is missing."""
    try:
        return Node(
            id=node_id,
            service=_text(metadata, "service"),
            version=_text(metadata, "version"),
            boot=_text(metadata, "boot"),
            address=_text(metadata, "address"),
            port=int(_text(metadata, "port")),
            app_address=_text(metadata, "app_address"),
            app_port=int(_text(metadata, "app_port")),
            metrics_port=int(_text(metadata, "metrics_port")),
            zone=str(metadata.get("zone", "")),
            outbound_ports=_ports(metadata.get("outbound_ports", {})),
        )
    except (TypeError, ValueError) as error:
        raise BadNode(f"node {node_id!r}: {error}") from error


def _text(metadata: Mapping[str, object], key: str) -> str:
    value = metadata.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"metadata lack {key!r}; a bootstrap of ours (legation run) has it")
    return value


def _ports(value: object) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise TypeError("metadata outbound_ports is no mapping of services to ports")
    return {str(service): int(port) for service, port in value.items()}


def refusal(node: Node, peer: str | None, trust_domain: str) -> str | None:
    """Return why a node may not have a stream under a verified SPIFFE ID; None: it may."""
    expected = names.spiffe_id(trust_domain, node.service)
    if peer != expected:
        return f"node {node.id!r} says it is {node.service!r}, which is {expected}, but its certificate is for {peer}"
    return None
