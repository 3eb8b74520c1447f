"""What a resource refers to is sent after it: conformance cases 36, 37 and 40."""

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from tests.xds_server.protocol.client import LETTER
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.references import followed_by
from xds_server.protocol.types import DeltaRequest
from xds_server.snapshot import CLUSTER, LISTENER, ROUTE, Resource, Snapshot


def listener(name: str, *routes: str, port: int = 1, default: str = "") -> Resource:
    """A listener with a chain for each route, and one for all else."""
    message = Listener(name=name)
    message.address.socket_address.port_value = port
    for route in routes:
        chain = message.filter_chains.add()
        chain.filters.add(name="other").typed_config.type_url = "type.googleapis.com/no.such.Filter"
        chain.filters.add().typed_config.Pack(HttpConnectionManager(rds={"route_config_name": route}))
    if default:
        manager = HttpConnectionManager(rds={"route_config_name": default})
        message.default_filter_chain.filters.add().typed_config.Pack(manager)
    return Resource.pack(message)


def route(name: str) -> Resource:
    return Resource.of(ROUTE, name, b"1")


@pytest.mark.parametrize(
    ("resources", "names"),
    [
        ([], set()),
        ([Resource.of(CLUSTER, "a", b""), Resource.of(CLUSTER, "b", b"")], {"a", "b"}),
        ([listener("in", "web", "api", default="rest")], {"web", "api", "rest"}),
        ([listener("tcp")], set()),
        ([listener("inline", "")], set()),
        ([Resource.of(LISTENER, "garbage", b"\xff\xff")], set()),
    ],
    ids=["nothing", "clusters", "routes", "no http", "inline routes", "garbage"],
)
def test_what_a_resource_is_followed_by(resources, names):
    assert followed_by(resources) == names


def test_40_a_changed_listener_has_its_routes_sent_after_it_and_no_others():
    stream = DeltaStream()
    stream.update(Snapshot.of([listener("in", "web"), route("web"), route("other")]))
    for type_url, names in ((LISTENER, ()), (ROUTE, ("web", "other", "gone"))):
        stream.receive(DeltaRequest(type_url, names))
    for send in stream.flush():
        stream.receive(DeltaRequest(send.type_url, nonce=send.nonce))
    assert stream.flush() == ()
    stream.update(Snapshot.of([listener("in", "web", "gone", port=2), route("web"), route("other")]))
    assert [(LETTER[s.type_url], *s.names) for s in stream.flush()] == [("l", "in"), ("r", "web")]
    assert stream.flush() == ()


def test_40_routes_that_the_client_does_not_ask_for_yet_are_sent_when_it_does():
    stream = DeltaStream()
    stream.update(Snapshot.of([listener("in", "web"), route("web")]))
    stream.receive(DeltaRequest(LISTENER))
    assert [s.names for s in stream.flush()] == [("in",)]
    held = {"web": route("web").version}
    stream.receive(DeltaRequest(ROUTE, ("web",), initial_versions=held))
    assert [s.names for s in stream.flush()] == [("web",)]
