"""`external.<name>`: a server outside of the mesh that services may call."""

from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Argument, Boolean, Host, Model, Port


class External(Model):
    """A server that has no sidecar. An app calls it in plain text; its sidecar speaks TLS to it."""

    host: Annotated[Host, Field(description="its name or its address; over TLS its certificate must bear it")]
    port: Port
    protocol: Annotated[Literal["http", "http2", "tcp"], Field(description="http is HTTP/1.1")] = "http"
    tls: Annotated[Boolean, Field(description="false: in plain text")] = True
    ca: Annotated[
        Argument | None,
        Field(description="a file of the CAs that may vouch for it, in mesh.yaml's folder; none: the machine's"),
    ] = None
