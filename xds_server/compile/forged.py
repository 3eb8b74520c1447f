"""Headers that an app believes to be its proxy's, or a token's: taken away in front of it, in every spelling.

CGI and WSGI give an app `x-user` and `x_user` under one name. The gateway takes no underscore in a header at all.
"""

import re

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh.model.service import Service

_OF_PROXIES = (
    *(StringMatcher(prefix=f"x_{name}") for name in ("envoy", "legation", "forwarded")),
    *(StringMatcher(prefix=f"x-{name}_") for name in ("envoy", "legation", "forwarded")),
    StringMatcher(exact="x-forwarded-client_cert"),
)
"""No one expression for all: it would be larger than Envoy takes where its runtime is asked (100 steps of RE2)."""


def forget_forged(service: Service) -> list[HeaderMutation]:
    """Return what removes such headers before anything reads them."""
    claims = sorted(service.jwt.claim_to_headers) if service.jwt else []
    of_tokens = [StringMatcher(safe_regex=RegexMatcher(regex=_spellings(header))) for header in claims]
    return [
        HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=matcher))
        for matcher in (*_OF_PROXIES, *of_tokens)
    ]


def _spellings(header: str) -> str:
    return "[-_]".join(re.escape(part) for part in re.split("[-_]", header))
