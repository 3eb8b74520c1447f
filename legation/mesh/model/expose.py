"""`expose`: a service that the gateway offers to the world outside of the mesh."""

from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from legation.mesh.types import Argument, HostPattern, Model, Port


def _dotted(value: Any) -> Any:
    """Reject numbers, which `ipaddress` takes for addresses: 5 would be 0.0.0.5."""
    if isinstance(value, str | IPv4Address):
        return value
    raise PydanticKnownError("string_type")


class EdgeTls(Model):
    """TLS at the gateway: with a certificate in files, named from mesh.yaml's folder, or one that certmgr issues."""

    cert: Annotated[
        Argument | None, Field(description="a PEM file: the certificate, and what vouches for it; needs key")
    ] = None
    key: Annotated[Argument | None, Field(description="a PEM file: the certificate's private key")] = None
    issuer: Annotated[
        Literal["certmgr"] | None,
        Field(description="in place of files: certmgr has it issued for the hosts, by the mesh's own CA"),
    ] = None
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
