"""The scalar types of mesh.yaml: what each accepts, and how it says what it accepts."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from legation.mesh.names import NAME_PATTERN
from legation.mesh.wording import shown

_DURATION = re.compile(r"(?P<number>[0-9]{1,12})(?P<fraction>\.[0-9]{1,6})?(?P<unit>ms|s|m|h)")
_MICROSECONDS = {"ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_LONGEST = timedelta(days=365)


class Model(BaseModel):
    """A frozen part of mesh.yaml that rejects fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def parse_duration(value: Any) -> timedelta:
    """Return the time that ``250ms``, ``1.5s``, ``10m`` or ``1h`` says; ValueError otherwise.

    Whole milliseconds, as Envoy's timers have no finer step: a timeout of 0.4 ms would become 0, which is none.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is no duration: write {PHRASES[DURATION_PATTERN]}")
    size = _MICROSECONDS[match["unit"]]
    fraction = (match["fraction"] or ".0")[1:]
    micros, rest = divmod(int(match["number"] + fraction) * size, 10 ** len(fraction))
    if rest or micros % 1000:
        raise ValueError(f"{shown(value)} is finer than a millisecond: write whole milliseconds")
    if micros > _LONGEST // timedelta(microseconds=1):
        raise ValueError(f"{shown(value)} is above the maximum {format_duration(_LONGEST)}")
    return timedelta(microseconds=micros)


def format_duration(value: timedelta) -> str:
    """Return the shortest mesh.yaml spelling of a time, such as ``250ms`` or ``10m``."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["250ms", "1s", "10m"]}),
]
"""A time such as ``250ms``; a `timedelta` inside."""

Interval = Annotated[Duration, Field(gt=timedelta(0))]
"""A time that is not 0: what Envoy repeats or waits for."""

TRUST_DOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,253}[a-z0-9])?$"
HEADER_NAME_PATTERN = r"^[a-z0-9!#$%&'*+.^_`|~-]+$"
HEADER_VALUE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
METHOD_PATTERN = r"^[A-Z]+$"
PATH_PATTERN = r"^/[^?#\s\x00-\x1f\x7f]*$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
ARGUMENT_PATTERN = r"^[^\x00]*$"
REGEX_PATTERN = r"^[^\x00-\x1f\x7f]+$"
TEMPLATE_PATTERN = r"^/[^?#\s\x00-\x20\x7f]*$"
SYMBOL_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
URL_PATTERN = r"^https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?/[^\s\x00-\x1f\x7f#]*$"
HOST_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
HOSTS_PATTERN = r"^(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"

PHRASES = {
    DURATION_PATTERN: "a number with its unit, such as 250ms, 1.5s, 10m or 1h",
    NAME_PATTERN: "a name of lower-case letters, digits and inner dashes (63 at most)",
    TRUST_DOMAIN_PATTERN: "a trust domain of lower-case letters, digits, dots and dashes, such as shop.local",
    HEADER_NAME_PATTERN: "a header's name in lower case, such as x-canary",
    HEADER_VALUE_PATTERN: "a header's value, without line breaks and control characters",
    METHOD_PATTERN: "an HTTP method in capitals, such as GET",
    PATH_PATTERN: "a path that begins with / and holds no ?, # or blank",
    VARIABLE_PATTERN: "a variable's name of letters, digits and underscores, such as LOG_LEVEL",
    ARGUMENT_PATTERN: "text without NUL",
    REGEX_PATTERN: "a regular expression as RE2 takes it, such as /users/[0-9]+",
    TEMPLATE_PATTERN: "a path that begins with / and may hold {names}, * and **, such as /users/{id}",
    SYMBOL_PATTERN: "a name as a .proto file has it, such as payments.Payments",
    URL_PATTERN: "an address that begins with https:// or http://, such as https://id.example.com/jwks.json",
    HOST_PATTERN: "a host's name or address in lower case, such as api.example.com",
    HOSTS_PATTERN: "a host's name in lower case, such as shop.example.com, or *.example.com for all below it",
}
"""What each pattern accepts, for people."""


def _text(pattern: str, example: str) -> Any:
    return Field(json_schema_extra={"examples": [example]}, pattern=pattern)


Name = Annotated[str, _text(NAME_PATTERN, "orders")]
TrustDomain = Annotated[str, _text(TRUST_DOMAIN_PATTERN, "shop.local")]
"""SPIFFE-ID §2.1: lower-case letters, digits, dots and dashes."""

Integer = Annotated[int, Field(strict=True)]
"""A whole number: neither `true` nor `"12"` nor `12.0`."""

Boolean = Annotated[bool, Field(strict=True)]
"""`true` or `false`: neither `yes` nor 1."""

Port = Annotated[Integer, Field(ge=1, le=65535)]
HeaderName = Annotated[str, _text(HEADER_NAME_PATTERN, "x-canary")]
"""A header's name, in lower case as HTTP/2 sends it (RFC 9113 §8.2)."""

HeaderValue = Annotated[str, _text(HEADER_VALUE_PATTERN, "1")]
Method = Annotated[str, _text(METHOD_PATTERN, "GET")]
Path = Annotated[str, _text(PATH_PATTERN, "/healthz")]
Pattern = Annotated[str, _text(REGEX_PATTERN, "/users/[0-9]+")]
Template = Annotated[str, _text(TEMPLATE_PATTERN, "/users/{id}")]
Symbol = Annotated[str, _text(SYMBOL_PATTERN, "payments.Payments")]
Url = Annotated[str, _text(URL_PATTERN, "https://id.example.com/jwks.json")]
Host = Annotated[str, _text(HOST_PATTERN, "api.example.com")]
HostPattern = Annotated[str, _text(HOSTS_PATTERN, "shop.example.com")]
Variable = Annotated[str, _text(VARIABLE_PATTERN, "LOG_LEVEL")]
Argument = Annotated[str, _text(ARGUMENT_PATTERN, "server.js")]
"""What a program can be given: an argument, or a variable's value."""
