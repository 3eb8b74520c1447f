"""`match`: what a request must look like for a row of `routes`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from legation.mesh.types import Boolean, HeaderName, HeaderValue, Method, Model, Path, Pattern, Symbol, Template


class TextMatch(Model):
    """How a value must look: one of these. A bare text in mesh.yaml is the exact value."""

    exact: HeaderValue | None = None
    prefix: HeaderValue | None = None
    suffix: HeaderValue | None = None
    contains: HeaderValue | None = None
    regex: Annotated[Pattern | None, Field(description="the whole value must match it (RE2)")] = None
    present: Annotated[Boolean | None, Field(description="true: there is one; false: there is none")] = None


def _text(value: Any) -> Any:
    """Take a bare text for an exact value."""
    return {"exact": value} if isinstance(value, str) else value


Text = Annotated[TextMatch, BeforeValidator(_text, json_schema_input_type=HeaderValue | TextMatch)]


class GrpcMatch(Model):
    """The service and the method of a gRPC call, as its .proto file has them."""

    service: Annotated[Symbol, Field(description="with its package: payments.Payments")]
    method: Annotated[Symbol | None, Field(description="without it: every method of the service")] = None


class RouteMatch(Model):
    """What a request must look like; everything that is given must hold. Empty: every request."""

    path: Annotated[Path | None, Field(description="the whole path, without the query")] = None
    prefix: Annotated[Path | None, Field(description="how the path begins")] = None
    template: Annotated[
        Template | None, Field(description="the path with {names} for segments, such as /users/{id}; * and **")
    ] = None
    regex: Annotated[Pattern | None, Field(description="the whole path, without the query, must match it (RE2)")] = None
    grpc: Annotated[GrpcMatch | None, Field(description="a gRPC service, or one of its methods")] = None
    headers: Annotated[dict[HeaderName, Text], Field(description="values of headers")] = {}
    query: Annotated[dict[HeaderValue, Text], Field(description="values of query parameters")] = {}
    methods: Annotated[tuple[Method, ...], Field(description="one of these methods")] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return which fields about the path are given; they exclude each other."""
        return tuple(f for f in ("path", "prefix", "template", "regex", "grpc") if getattr(self, f) is not None)

    @property
    def takes_all(self) -> bool:
        """Whether every request fits."""
        return self in (RouteMatch(), RouteMatch(prefix="/"))
