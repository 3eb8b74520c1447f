"""`connections`: how long connections to a service live, and how many one of its instances takes."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Integer, Interval, Model


class Connections(Model):
    """Between a caller's proxy and an instance's. They never outlive their certificates, whatever is said here."""

    connect_timeout: Annotated[Interval, Field(description="how long it may take to connect")] = timedelta(seconds=2)
    idle_timeout: Annotated[
        Interval | None, Field(description="close a connection without a request after so long")
    ] = None
    max_duration: Annotated[Interval | None, Field(description="the longest life of a connection")] = None
    max_requests_per_connection: Annotated[
        Integer | None, Field(ge=1, le=1_000_000, description="requests until a connection is replaced")
    ] = None
    max_connections: Annotated[
        Integer | None, Field(ge=1, le=1_000_000, description="connections that an instance takes; it closes others")
    ] = None
