"""`calls`: which services a service may call. Everything that is not named is denied."""

from typing import Annotated

from pydantic import Field

from legation.mesh.model.match import Text
from legation.mesh.types import Argument, HeaderName, Method, Model, Name, Path


class Allow(Model):
    """Requests that a caller may make; an empty list allows all of that kind."""

    methods: tuple[Method, ...] = ()
    headers: Annotated[dict[HeaderName, Text], Field(description="values that headers must have")] = {}
    claims: Annotated[
        dict[Argument, Argument], Field(description="values that claims of the token must have, one of them in a list")
    ] = {}
    paths: Annotated[tuple[Path, ...], Field(description="exact paths, or prefixes that end in /*")] = ()


class Call(Model):
    """A service that may be called: a bare name in mesh.yaml allows every request."""

    service: Name
    allow: Annotated[tuple[Allow, ...], Field(description="one of these must hold; none given: every request")] = ()
