"""Questions to a Prometheus (its HTTP API, https://prometheus.io/docs/prometheus/latest/querying/api/)."""

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 64 << 20
"""Bytes of an answer."""


class PrometheusError(Exception):
    """A Prometheus that does not answer, or refuses a query; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels and its samples, each of a time and a value; an instant query's has one."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


class Prometheus:
    """One Prometheus; each call has a limit, in seconds."""

    def __init__(self, url: str, limit: float = 10.0) -> None:
        """Ask the one whose API is below `url` (http or https)."""
        self.url, self._limit = url.rstrip("/"), limit
        # Never by the environment's proxy: it is near, and a proxy would be told what is asked.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def query(self, expr: str) -> tuple[Series, ...]:
        """Return an instant query's series, a scalar as one without labels; PrometheusError when there is no answer."""
        return _series(await asyncio.to_thread(self._ask, "query", {"query": expr}))

    async def query_range(self, expr: str, start: float, end: float, step: float) -> tuple[Series, ...]:
        """Return a query's series from `start` to `end`, every `step` seconds."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return _series(await asyncio.to_thread(self._ask, "query_range", {"query": expr, **times}))

    def _ask(self, what: str, words: Mapping[str, str]) -> Any:
        body = urllib.parse.urlencode(words).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{what}", body)  # noqa: S310 - the schema has http(s) alone
        try:
            with self._opener.open(request, timeout=self._limit) as answer:
                content = answer.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{self.url} refuses: {_reason(error.read(LARGEST), str(error))}") from error
        except OSError as error:
            why = getattr(error, "reason", None) or error
            raise PrometheusError(f"{self.url} does not answer ({why})") from error
        if len(content) > LARGEST:
            raise PrometheusError(f"{self.url}: an answer is larger than {LARGEST >> 20} MiB: ask for a shorter time")
        try:
            return json.loads(content)["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise PrometheusError(f"{self.url} is no Prometheus: its answer is none of its API") from error


def _reason(content: bytes, otherwise: str) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return otherwise


def _series(data: Any) -> tuple[Series, ...]:
    try:
        match data:
            case {"resultType": "matrix", "result": result}:
                return tuple(Series(s["metric"], tuple(map(_sample, s["values"]))) for s in result)
            case {"resultType": "vector", "result": result}:
                return tuple(Series(s["metric"], (_sample(s["value"]),)) for s in result)
            case {"resultType": "scalar", "result": result}:
                return (Series({}, (_sample(result),)),)
            case _:
                raise PrometheusError("a Prometheus answers in a form that is not known")
    except (KeyError, TypeError, ValueError) as error:
        raise PrometheusError("a Prometheus answers in a form that is not known") from error


def _sample(pair: Any) -> tuple[float, float]:
    at, value = pair
    return float(at), float(value)
