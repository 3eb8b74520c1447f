"""Resources and sets of them: values, versions by content, bytes that are shared."""

from datetime import timedelta

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from tests.xds_server.protocol.client import snapshot
from xds_server.protocol.references import followed_by
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, NO_RESOURCES, Resource, Resources, Snapshot


def test_a_proto_becomes_a_resource_under_its_own_name() -> None:
    made = Resource.pack(Cluster(name="a"), source="mesh.yaml:7")
    assert (made.type_url, made.name, made.source) == (CLUSTER, "a", "mesh.yaml:7")
    assert Cluster.FromString(made.body).name == "a"
    assert Resource.pack(ClusterLoadAssignment(cluster_name="e")).name == "e"
    with pytest.raises(ValueError, match="without a name"):
        Resource.pack(Cluster())


def test_the_version_is_that_of_the_content_however_it_is_split() -> None:
    whole = Resource.of(LISTENER, "a", b"onetwo")
    split = Resource.of(LISTENER, "a", (b"one", b"two"))
    assert whole == split
    assert (whole.wire, whole.any, whole.body) == (split.wire, split.any, split.body)
    assert split.size == len(split.wire)
    assert Resource.of(LISTENER, "a", b"other").version != whole.version
    assert Resource.of(LISTENER, "a", b"onetwo", ttl=timedelta(seconds=1)).version != whole.version


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_both_variants_read_the_bytes(size: int) -> None:
    made = Resource.of(CLUSTER, "größe", b"x" * size, ttl=timedelta(seconds=1.5))
    (delta,) = DeltaDiscoveryResponse.FromString(made.wire).resources
    assert (delta.name, delta.version, delta.resource.value) == ("größe", made.version, made.body)
    assert delta.ttl.ToTimedelta() == made.ttl
    (sotw,) = DiscoveryResponse.FromString(made.any).resources
    assert (sotw.type_url, sotw.value) == (CLUSTER, made.body)
    (beat,) = DeltaDiscoveryResponse.FromString(made.heartbeat).resources
    assert (beat.name, beat.HasField("resource"), beat.HasField("ttl")) == ("größe", False, True)


def test_a_set_has_a_version_whatever_the_order_and_the_shortest_ttl() -> None:
    one, two = snapshot("c:a c:b"), snapshot("c:b c:a")
    assert one.of_type(CLUSTER).version == two.of_type(CLUSTER).version
    assert one.of_type(CLUSTER).version != snapshot("c:a").of_type(CLUSTER).version
    assert one.of_type(CLUSTER).ttl == float("inf")
    lasting = [Resource.of(CLUSTER, str(n), b"", ttl=timedelta(seconds=n)) for n in (5, 3)]
    assert Snapshot.of(lasting).of_type(CLUSTER).ttl == 3


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="are named 'a'"):
        Snapshot.of(clusters=[Cluster(name="a"), Cluster(name="a")])
    both = Snapshot.of(clusters=[Cluster(name="a")], listeners=[Listener(name="a")])
    assert both.types() == {CLUSTER, LISTENER}


def test_what_is_made_later_is_equal_to_what_is_there() -> None:
    made: list[Resources] = []

    def make() -> Resources:
        made.append(snapshot("e:a").of_type(ENDPOINT))
        return made[-1]

    late = Snapshot({}, {ENDPOINT: make})
    assert late.types() == {ENDPOINT}
    assert not made
    assert late == snapshot("e:a")
    assert late != snapshot("e:a=2")
    assert late != "a snapshot"
    assert late.of_type(CLUSTER) is NO_RESOURCES


def test_40_the_routes_of_a_listener_are_found_in_each_of_its_parts() -> None:
    config = HttpConnectionManager(rds={"route_config_name": "r"}, stat_prefix="x" * 1000)
    http = Filter(name="http")
    http.typed_config.Pack(config)
    shared = Listener(filter_chains=[FilterChain(filters=[http])]).SerializeToString()
    parts = (Listener(name="a").SerializeToString(), shared)
    whole = Resource.of(LISTENER, "a", b"".join(parts))
    assert followed_by([Resource.of(LISTENER, "a", parts)]) == followed_by([whole]) == {"r"}
    assert followed_by([Resource.of(LISTENER, "a", b"\xff" * 600)]) == set()
