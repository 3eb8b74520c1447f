"""`jwt` and `ext_authz` to the filters in front of an app that ask more than who calls."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutationRules
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteMatch
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import BufferSettings
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz as Authz
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh import names
from legation.mesh.model.access import ExtAuthz, Jwt
from legation.mesh.model.service import Service
from xds_server.compile.pack import duration, pack

CLAIMS = "claims"
"""Where the filter leaves the token's claims, in its metadata."""

JWT_FILTER = "envoy.filters.http.jwt_authn"
_FETCH_LIMIT, _FETCH_AGAIN = timedelta(seconds=5), timedelta(seconds=1)
_PROVIDER, _NOBODY = "issuer", "nobody"
_BEARER = r"Bearer +[\w.-]+"
"""What an app gets to see of a token: Envoy would find one behind whatever else the header says."""

_NOT_FOR_ASKED = r"x-legation-.*|x-forwarded-client-cert|content-length|transfer-encoding|connection|upgrade"
"""What a server that is asked may not say either, beside what Envoy keeps it from: `x-envoy-*` and the Host."""


def token_filters(name: str, service: Service, *, with_claims: bool) -> Sequence[HttpFilter]:
    """Return what checks tokens; it comes before access control, for which it keeps claims if that looks at them."""
    if service.jwt is None:
        return ()
    provider = _provider(name, service.jwt, with_claims)
    providers = {_PROVIDER: provider, _NOBODY: _nobody(provider)} if _is_shown(service.jwt) else {_PROVIDER: provider}
    config = jwt.JwtAuthentication(providers=providers, rules=list(_rules(service.jwt)))
    return (HttpFilter(name=JWT_FILTER, typed_config=pack(config)),)


def _rules(asked: Jwt) -> Iterator[jwt.RequirementRule]:
    """Yield who must show what; the first that matches a request holds."""
    yield from (jwt.RequirementRule(match=RouteMatch(path=path)) for path in asked.exempt)
    if _is_shown(asked):
        yield _not_alone()
    yield jwt.RequirementRule(match=RouteMatch(prefix="/"), requires=jwt.JwtRequirement(provider_name=_PROVIDER))


def _is_shown(asked: Jwt) -> bool:
    """Say whether the app gets to see `Authorization`; of another header the token is all there is."""
    return asked.forward and asked.from_header is None


def _not_alone() -> jwt.RequirementRule:
    """Return what denies a request whose header says more than the token: an app may take another for it."""
    alone = StringMatcher(safe_regex=RegexMatcher(regex=_BEARER))
    other = HeaderMatcher(name="authorization", string_match=alone, invert_match=True)
    match = RouteMatch(prefix="/", headers=[other])
    return jwt.RequirementRule(match=match, requires=jwt.JwtRequirement(provider_name=_NOBODY))


def _nobody(provider: jwt.JwtProvider) -> jwt.JwtProvider:
    """Return an issuer whose tokens nobody can show: their header is one that is dropped before."""
    found = jwt.JwtProvider(issuer=provider.issuer, from_headers=[jwt.JwtHeader(name="x-legation-nobody")])
    found.remote_jwks.http_uri.CopyFrom(provider.remote_jwks.http_uri)
    return found


def asking_filters(service: Service) -> Sequence[HttpFilter]:
    """Return what asks another service; it comes after access control, which costs less."""
    if service.ext_authz is None:
        return ()
    return (HttpFilter(name="envoy.filters.http.ext_authz", typed_config=pack(_ext_authz(service.ext_authz))),)


def _provider(name: str, asked: Jwt, with_claims: bool) -> jwt.JwtProvider:
    uri = HttpUri(uri=asked.jwks_uri, cluster=names.jwks_cluster(name), timeout=duration(_FETCH_LIMIT))
    remote = jwt.RemoteJwks(
        http_uri=uri,
        cache_duration=duration(asked.jwks_ttl),
        # a listener does not wait for an issuer that is down; requests are denied until its keys are there
        async_fetch=jwt.JwksAsyncFetch(fast_listener=True, failed_refetch_duration=duration(_FETCH_AGAIN)),
    )
    # Envoy asks a remembered token for its time alone: a key that is withdrawn goes on counting, so it is on request
    cache = jwt.JwtCacheConfig(jwt_cache_size=asked.cached_tokens) if asked.cached_tokens else None
    return jwt.JwtProvider(
        issuer=asked.issuer,
        audiences=asked.audiences,
        remote_jwks=remote,
        require_expiration=True,
        forward=asked.forward,
        from_headers=list(_headers(asked)),
        jwt_cache_config=cache,
        payload_in_metadata=CLAIMS if with_claims else "",
        claim_to_headers=[
            jwt.JwtClaimToHeader(header_name=header, claim_name=claim)
            for header, claim in sorted(asked.claim_to_headers.items())
        ],
    )


def _headers(asked: Jwt) -> Iterator[jwt.JwtHeader]:
    """Name where the token is. Without a name Envoy would take one from the query too, which is logged."""
    if asked.from_header is None:
        yield jwt.JwtHeader(name="Authorization", value_prefix="Bearer ")
    else:
        yield jwt.JwtHeader(name=asked.from_header)


def _ext_authz(asked: ExtAuthz) -> Authz:
    envoy = GrpcService.EnvoyGrpc(cluster_name=names.cluster(asked.service))
    found = Authz(
        grpc_service=GrpcService(envoy_grpc=envoy, timeout=duration(asked.timeout)),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=asked.failure_mode_allow,
        include_peer_certificate=True,
        clear_route_cache=False,
        decoder_header_mutation_rules=HeaderMutationRules(
            disallow_system=BoolValue(value=True),
            disallow_expression=RegexMatcher(regex=_NOT_FOR_ASKED),
            disallow_is_error=BoolValue(value=True),
        ),
    )
    if asked.max_request_bytes is not None:
        found.with_request_body.CopyFrom(
            BufferSettings(max_request_bytes=asked.max_request_bytes, allow_partial_message=True)
        )
    return found
