"""`calls`: which services a service may call. Everything that is not named is denied."""

from typing import Annotated

from pydantic import Field

from legation.mesh.types import Method, Model, Name, Path


class Allow(Model):
    """Requests that a caller may make; an empty list allows all of that kind."""

    methods: tuple[Method, ...] = ()
    paths: Annotated[tuple[Path, ...], Field(description="exact paths, or prefixes that end in /*")] = ()


class Call(Model):
    """A service that may be called: a bare name in mesh.yaml allows every request."""

    service: Name
    allow: Annotated[tuple[Allow, ...], Field(description="one of these must hold; none given: every request")] = ()
