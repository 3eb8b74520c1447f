"""`certificates`: how long the identities of the mesh live."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Duration, Model


class Certificates(Model):
    """The life of every leaf certificate; it is renewed at half of it."""

    ttl: Annotated[Duration, Field(description="between 1m and 24h")] = timedelta(hours=1)
