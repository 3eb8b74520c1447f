"""`expose`: a service that the gateway offers to the world outside of the mesh."""

from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from legation.mesh.types import Model, Port


def _dotted(value: Any) -> Any:
    """Reject numbers, which `ipaddress` takes for addresses: 5 would be 0.0.0.5."""
    if isinstance(value, str | IPv4Address):
        return value
    raise PydanticKnownError("string_type")


class Expose(Model):
    """Where the gateway listens for a service. Plain HTTP; on loopback unless `address` says otherwise."""

    port: Port
    address: Annotated[
        IPv4Address, BeforeValidator(_dotted), Field(description="an address of this host; 0.0.0.0 for all")
    ] = IPv4Address("127.0.0.1")
