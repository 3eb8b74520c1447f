"""`certificates`: how long the identities of the mesh live, and what their CA is like."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Duration, Model


class Certificates(Model):
    """The life of every leaf certificate; it is renewed at half of it."""

    ttl: Annotated[Duration, Field(description="between 1m and 24h")] = timedelta(hours=1)
    stored: Annotated[
        bool, Field(description="Vault keeps each certificate, so that its own UI can revoke one by its serial number")
    ] = False
    dev: Annotated[bool, Field(description="the CA may be one for trying things out, in a Vault of yours too")] = False
