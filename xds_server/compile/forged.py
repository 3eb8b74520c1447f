"""Headers that an app believes to be its proxy's, or a token's: taken away in front of it, in every spelling.

CGI and WSGI give an app `x-user` and `x_user` under one name. The gateway takes no underscore in a header at all.
"""

import re

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh.model.service import Service

_OF_PROXIES = (
    "x_(envoy|legation)[-_].*|x-(envoy|legation)_.*",
    "x_forwarded[-_].*|x-forwarded_.*|x-forwarded-client_cert",
)


def forget_forged(service: Service) -> HeaderMutation:
    """Return what removes such headers before anything reads them; one expression, as each costs every request."""
    claims = sorted(service.jwt.claim_to_headers) if service.jwt else []
    spellings = ["[-_]".join(re.escape(part) for part in re.split("[-_]", header)) for header in claims]
    matcher = StringMatcher(safe_regex=RegexMatcher(regex="|".join([*_OF_PROXIES, *spellings])))
    return HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=matcher))
