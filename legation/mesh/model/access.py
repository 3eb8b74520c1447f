"""How a service decides about requests beyond who asks: a trial run, tokens of users, a server that is asked."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Argument, Boolean, HeaderName, Integer, Interval, Model, Name, Path, Url


class Access(Model):
    """Whether `calls` decides, or is only compared with what comes."""

    mode: Annotated[
        Literal["enforce", "shadow"], Field(description="shadow: let everything in, and count what would be denied")
    ] = "enforce"


class Jwt(Model):
    """JSON Web Tokens that every request must bear, checked by the service's own proxies."""

    issuer: Annotated[Argument, Field(description="the claim iss")]
    jwks_uri: Annotated[Url, Field(description="where the issuer's keys are")]
    audiences: Annotated[tuple[Argument, ...], Field(description="one of these must be in the claim aud")] = ()
    jwks_ttl: Annotated[Interval, Field(description="how long keys are kept before they are fetched again")] = (
        timedelta(minutes=5)
    )
    from_header: Annotated[
        HeaderName | None, Field(description="the header with the token; none: Authorization, as Bearer")
    ] = None
    forward: Annotated[Boolean, Field(description="pass the token on to the app")] = False
    claim_to_headers: Annotated[dict[HeaderName, Argument], Field(description="header: the claim that it gets")] = {}
    cached_tokens: Annotated[
        Integer | None,
        Field(ge=1, le=100_000, description="remember so many good tokens, until they expire, even if their key goes"),
    ] = None
    exempt: Annotated[tuple[Path, ...], Field(description="exact paths that need no token")] = ()


class ExtAuthz(Model):
    """A gRPC service of the mesh (envoy.service.auth.v3.Authorization) that is asked about every request."""

    service: Annotated[Name, Field(description="which service; it must be in calls")]
    timeout: Annotated[Interval, Field(description="how long it may take")] = timedelta(milliseconds=200)
    failure_mode_allow: Annotated[Boolean, Field(description="let requests in when it does not answer")] = False
    max_request_bytes: Annotated[
        Integer | None, Field(ge=1, le=1_048_576, description="send it so much of the body too")
    ] = None
