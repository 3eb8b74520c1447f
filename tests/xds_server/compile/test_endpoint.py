"""Which hosts an assignment holds, and which of them it calls healthy."""

import pytest
from envoy.config.core.v3.health_check_pb2 import HealthStatus

from xds_server.compile.endpoint import assignment
from xds_server.endpoint import Endpoint


def endpoint(number: int, *, healthy: bool = True, zone: str = "") -> Endpoint:
    return Endpoint(f"a-v1-{number}", "v1", f"127.64.{number}.1", 15006, healthy, zone)


def hosts(*endpoints: Endpoint) -> list[tuple[str, str, bool]]:
    return [
        (locality.locality.zone, host.endpoint.hostname, host.health_status == HealthStatus.HEALTHY)
        for locality in assignment("a", endpoints).endpoints
        for host in locality.lb_endpoints
    ]


def test_no_endpoint_is_an_empty_assignment():
    empty = assignment("a", ())
    assert (empty.cluster_name, len(empty.endpoints)) == ("a", 0)


@pytest.mark.parametrize(
    ("health", "sent"),
    [([True, True], [True, True]), ([True, False], [True, False]), ([False, False], [True, True]), ([False], [True])],
)
def test_the_last_endpoints_are_never_withdrawn_by_their_health(health, sent):
    found = hosts(*(endpoint(n, healthy=h) for n, h in enumerate(health)))
    assert [healthy for *_, healthy in found] == sent


def test_order_and_zones_do_not_depend_on_the_order_given():
    some = [endpoint(2, zone="b"), endpoint(1, zone="a"), endpoint(0, zone="b")]
    assert hosts(*some) == hosts(*reversed(some))
    assert [(zone, name) for zone, name, _ in hosts(*some)] == [("a", "a-v1-1"), ("b", "a-v1-0"), ("b", "a-v1-2")]
