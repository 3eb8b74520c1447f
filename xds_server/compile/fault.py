"""`fault` to Envoy's fault filter: in the callers' proxies, and only in front of services whose routes have one."""

from collections.abc import Iterator

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route
from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent

from legation.mesh.model.action import Abort, Delay, Fault
from legation.mesh.model.service import Service
from xds_server.compile.pack import duration, pack

FILTER = "envoy.filters.http.fault"


def fault_filters(service: Service) -> tuple[HttpFilter, ...]:
    """Return the filter of a caller's listener for a service: off, but where a route says something else."""
    if not any(route.fault for route in service.routes):
        return ()
    return (HttpFilter(name=FILTER, typed_config=pack(HTTPFault()), disabled=True),)


def befallen(route: Route, asked: Fault) -> Iterator[Route]:
    """Yield an Envoy route for the requests that a fault befalls, and one for the rest, which pass no filter then."""
    hit = Route()
    hit.CopyFrom(route)
    hit.match.headers.extend(
        HeaderMatcher(name=name, string_match=StringMatcher(exact=value))
        for name, value in sorted(asked.headers.items())
    )
    hit.typed_per_filter_config[FILTER].CopyFrom(pack(fault(asked)))
    yield hit
    if asked.headers:
        yield route


def fault(asked: Fault) -> HTTPFault:
    """Return what befalls the requests of a route."""
    found = HTTPFault()
    if asked.delay is not None:
        found.delay.CopyFrom(_delay(asked.delay))
    if asked.abort is not None:
        found.abort.CopyFrom(_abort(asked.abort))
    return found


def _delay(asked: Delay) -> FaultDelay:
    return FaultDelay(fixed_delay=duration(asked.duration), percentage=_percent(asked.percent))


def _abort(asked: Abort) -> FaultAbort:
    if asked.grpc_status is not None:
        return FaultAbort(grpc_status=asked.grpc_status, percentage=_percent(asked.percent))
    return FaultAbort(http_status=asked.status or 503, percentage=_percent(asked.percent))


def _percent(share: int) -> FractionalPercent:
    return FractionalPercent(numerator=share, denominator=FractionalPercent.DenominatorType.HUNDRED)
