"""What is asked of the store: words to a condition of SQL. Every value is a parameter. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
MOST = 10_000
_USUAL = 100
_LONGEST_TEXT = 1000


class BadQuery(ValueError):
    """A word that means nothing; the text says what would be accepted."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which records: all that is given must hold. `after` is an id: newer ones, oldest first; else the newest."""

    condition: str
    values: tuple[object, ...]
    after: int | None
    limit: int


def parse(words: Mapping[str, str]) -> Query:
    """Return the query that these words ask; BadQuery names the first that cannot be understood."""
    parts = list(_parts(words))
    after = _whole("after", words["after"]) if "after" in words else None
    limit = _whole("limit", words.get("limit", str(_USUAL)))
    if not 1 <= limit <= MOST:
        raise BadQuery(f"limit {limit}: 1 to {MOST}")
    return Query(
        condition=" AND ".join(sql for sql, _ in parts) or "1",
        values=tuple(value for _, values in parts for value in values),
        after=after,
        limit=limit,
    )


def _parts(words: Mapping[str, str]) -> Iterator[tuple[str, tuple[object, ...]]]:
    for column in ("service", "instance", "kind"):
        if words.get(column):
            yield f"{column} = ?", (words[column],)
    yield from _of_stream(words.get("stream", ""))
    if words.get("trace"):
        yield "trace = ?", (words["trace"].lower(),)
    if words.get("request"):
        yield "request = ?", (words["request"],)
    if words.get("code"):
        yield code(words["code"])
    if words.get("flag"):
        yield "instr(',' || flags || ',', ?)", (f",{words['flag'].upper()},",)
    if text := words.get("text", "")[:_LONGEST_TEXT]:
        yield "instr(lower(text || ' ' || fields), lower(?))", (text,)
    if words.get("since"):
        yield "time >= ?", (_seconds("since", words["since"]),)
    if words.get("until"):
        yield "time < ?", (_seconds("until", words["until"]),)


def code(text: str) -> tuple[str, tuple[object, ...]]:
    """Return the condition of a status: 503, 5xx, or a gRPC status by name or number."""
    if re.fullmatch(r"[1-5][xX]{2}", text):
        return "code BETWEEN ? AND ?", (int(text[0]) * 100, int(text[0]) * 100 + 99)
    if text.isdecimal() and (100 <= int(text) <= 599 or int(text) == 0):
        return "code = ?", (int(text),)
    if text.isdecimal() and int(text) < len(GRPC_STATUSES):
        return "grpc = ?", (int(text),)
    if text.upper() in GRPC_STATUSES:
        return "grpc = ?", (GRPC_STATUSES.index(text.upper()),)
    raise BadQuery(f"code {text!r}: a status such as 503, a class such as 5xx, or a gRPC status such as UNAVAILABLE")


def _of_stream(text: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield the condition of what apps wrote to a stream, if one is asked for; stdout is not noted with each line."""
    if text not in {"", "stdout", "stderr"}:
        raise BadQuery(f"stream {text!r}: stdout or stderr")
    if text:
        yield "kind = 'app' AND coalesce(json_extract(fields, '$.stream'), 'stdout') = ?", (text,)


def _whole(name: str, text: str) -> int:
    if not (text.isdecimal() and len(text) < 19):
        raise BadQuery(f"{name} {text!r}: a whole number")
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadQuery(f"{name} {text!r}: seconds since the epoch") from error
