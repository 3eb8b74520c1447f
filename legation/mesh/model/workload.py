"""`workloads`: how instances start on this host. Read by `legation up` alone."""

from typing import Annotated

from pydantic import Field

from legation.mesh.types import Argument, Integer, Model, Name, Variable

DEFAULT_VERSION = "v1"


class Workload(Model):
    """Some instances of one version of a service; `command` runs in mesh.yaml's folder."""

    service: Name
    version: Name = DEFAULT_VERSION
    instances: Annotated[Integer, Field(ge=0, le=100)] = 1
    command: Annotated[tuple[Argument, ...], Field(min_length=1, description="program and arguments; no shell")]
    env: Annotated[dict[Variable, Argument], Field(description="more environment variables for the app")] = {}
