"""`expose`: a service that the gateway offers to the world outside of the mesh."""

from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from legation.mesh.types import Argument, HostPattern, Model, Port


def _dotted(value: Any) -> Any:
    """Reject numbers, which `ipaddress` takes for addresses: 5 would be 0.0.0.5."""
    if isinstance(value, str | IPv4Address):
        return value
    raise PydanticKnownError("string_type")


class EdgeTls(Model):
    """TLS at the gateway, with a certificate of the operator's own. Files are named from mesh.yaml's folder."""

    cert: Annotated[Argument, Field(description="a PEM file: the certificate, and what vouches for it")]
    key: Annotated[Argument, Field(description="a PEM file: the certificate's private key")]
    redirect_port: Annotated[
        Port | None, Field(description="a port where plain HTTP is answered by a redirect to https")
    ] = None


class Expose(Model):
    """Where the gateway listens for a service. On loopback unless `address` says otherwise; plain without `tls`."""

    port: Port
    address: Annotated[
        IPv4Address, BeforeValidator(_dotted), Field(description="an address of this host; 0.0.0.0 for all")
    ] = IPv4Address("127.0.0.1")
    hosts: Annotated[
        tuple[HostPattern, ...], Field(description="the hosts that lead to this service; none: every host does")
    ] = ()
    tls: EdgeTls | None = None
