"""Meshes that are wrong, and what is said about them."""

import pytest

from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load

HEAD = "mesh: shop\ntrust_domain: shop.local\nservices:\n"
WEB = HEAD + "  web: {protocol: http, port: 8080}\n"


def web(more: str) -> str:
    """Return a mesh whose only service has these lines, from line 7 on."""
    lines = "".join(f"    {line}\n" for line in more.splitlines())
    return f"{HEAD}  web:\n    protocol: http\n    port: 8080\n{lines}"


def grpc(more: str) -> str:
    """Return the same, of a service that speaks gRPC."""
    return web(more).replace("protocol: http", "protocol: grpc")


def said(text: str) -> list[str]:
    """Return all that is said about a mesh that is not taken."""
    with pytest.raises(InvalidMesh) as caught:
        load(text, "mesh.yaml")
    return str(caught.value).split("\n")
