"""`expose`: a service that the gateway offers to the world outside of the mesh."""

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Model, Port


class Expose(Model):
    """Where the gateway listens for a service. Plain HTTP; on loopback unless `address` says otherwise."""

    port: Port
    address: Annotated[IPv4Address, Field(description="an address of this host; 0.0.0.0 for all")] = IPv4Address(
        "127.0.0.1"
    )
