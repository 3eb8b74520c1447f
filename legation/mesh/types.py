"""The scalar types of mesh.yaml: what each accepts, and how it says what it accepts."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}


class Model(BaseModel):
    """A frozen part of mesh.yaml that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def parse_duration(value: Any) -> timedelta:
    """Return the time that ``250ms``, ``1.5s``, ``10m`` or ``1h`` says; ValueError otherwise."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration: write a number with its unit, such as 250ms, 1.5s, 10m or 1h")
    return timedelta(**{_UNITS[match["unit"]]: float(match["number"])})


def format_duration(value: timedelta) -> str:
    """Return the shortest mesh.yaml spelling of a time, such as ``250ms`` or ``10m``."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$", "examples": ["250ms", "1s", "10m"]}),
]
"""A time such as ``250ms``; a `timedelta` inside."""

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A DNS label (RFC 1123): it becomes part of a SPIFFE ID, a Vault role and a file name."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
TrustDomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,253}[a-z0-9])?$")]
"""SPIFFE-ID §2.1: lower-case letters, digits, dots and dashes."""

Port = Annotated[int, Field(ge=1, le=65535)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+$")]
"""A header's name, in lower case as HTTP/2 sends it (RFC 9113 §8.2)."""

Method = Annotated[str, StringConstraints(pattern=r"^[A-Z]+$")]
Path = Annotated[str, StringConstraints(pattern=r"^/")]
