"""What a caller is told of a request that could not wait: which service, why, and since when.

While a service has no ready instance its routes carry the reason as metadata; a proxy's own answer
takes it from there (Envoy: local reply modification, command operator METADATA). Routes change by
RDS, which drains no connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption, Metadata
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import ResponseMapper
from google.protobuf.struct_pb2 import Struct

HEADER = "x-legation-unavailable"
FLAGS = ("UH", "UF", "URX", "UT", "NC")
"""Response flags of requests that reached no instance: none, refused, tries used up, waited in vain, no cluster."""

_NAMESPACE, _KEY = "legation", "unavailable"


@dataclass(frozen=True, slots=True)
class Outage:
    """A service without a ready instance of some version; `versions` is empty where there is none at all.

    `since` is in seconds since the epoch.
    """

    since: float
    versions: tuple[str, ...] = ()

    def text(self, service: str) -> str:
        """Return the header's value."""
        of = f" of {', '.join(self.versions)}" if self.versions else ""
        since = datetime.fromtimestamp(int(self.since), UTC).isoformat().replace("+00:00", "Z")
        return f'service={service}; reason="no ready instance{of}"; since={since}'


def outage(targets: Iterable[str | None], ready: frozenset[str], since: float) -> Outage | None:
    """Return the outage of a service whose routes lead to `targets` (None: to all versions); None: there is none."""
    if not ready:
        return Outage(since)
    missing = tuple(sorted(version for version in targets if version is not None and version not in ready))
    return Outage(since, missing) if missing else None


def route_metadata(service: str, known: Outage | None) -> Metadata | None:
    """Return what the routes of a service carry; None without an outage."""
    if known is None:
        return None
    fields = Struct()
    fields.update({_KEY: known.text(service)})
    return Metadata(filter_metadata={_NAMESPACE: fields})


def unavailable(bodies: Mapping[str, str] | None = None) -> list[ResponseMapper]:
    """Return the mappers that add the header to a proxy's own answers, each with the body of its flag if given."""
    return [_mapper(flag, (bodies or {}).get(flag)) for flag in FLAGS]


def _mapper(flag: str, body: str | None) -> ResponseMapper:
    header = HeaderValueOption(
        header=HeaderValue(key=HEADER, value=f"%METADATA(ROUTE:{_NAMESPACE}:{_KEY})%"),
        append_action=HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    mapper = ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[flag])), headers_to_add=[header]
    )
    if body is not None:
        mapper.body.inline_string = body
    return mapper
