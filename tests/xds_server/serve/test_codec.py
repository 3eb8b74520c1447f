"""Bytes on the wire and protocol values say the same."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from xds_server.protocol.types import DeltaRequest, Send
from xds_server.serve.codec import Malformed, decode, encode
from xds_server.snapshot import CLUSTER, SECRET, Resource


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_joined_bytes_are_the_response_that_protobuf_would_write(size):
    body = Cluster(name="c", alt_stat_name="x" * size).SerializeToString(deterministic=True)
    resources = (Resource.of(CLUSTER, "größe", body), Resource.of(CLUSTER, "b", b""))
    response = DeltaDiscoveryResponse.FromString(encode(Send(CLUSTER, resources, ("gone", "too"), "7")))
    expected = DeltaDiscoveryResponse(type_url=CLUSTER, nonce="7", removed_resources=["gone", "too"])
    for resource in resources:
        item = expected.resources.add(name=resource.name, version=resource.version)
        item.resource.type_url, item.resource.value = CLUSTER, resource.body
    assert response == expected
    cluster = Cluster()
    assert response.resources[0].resource.Unpack(cluster)
    assert cluster.alt_stat_name == "x" * size


def test_an_empty_response_names_its_type():
    response = DeltaDiscoveryResponse.FromString(encode(Send(CLUSTER, (), (), "1")))
    assert (response.type_url, response.nonce, len(response.resources)) == (CLUSTER, "1", 0)


def test_a_request_is_read_in_full():
    message = DeltaDiscoveryRequest(
        type_url=CLUSTER,
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "v"},
        response_nonce="3",
        error_detail={"message": "no"},
    )
    message.node.id = "n"
    request, node = decode(message.SerializeToString())
    assert request == DeltaRequest(CLUSTER, ("a",), ("b",), {"c": "v"}, "3", "no")
    assert node.id == "n"


def test_6_an_error_without_words_is_an_error():
    quiet = DeltaDiscoveryRequest(type_url=CLUSTER, error_detail={})
    assert decode(quiet.SerializeToString())[0].error == ""
    assert decode(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())[0].error is None


def test_2_the_type_of_a_single_type_stream_may_be_said_or_not():
    assert decode(b"", SECRET)[0].type_url == SECRET
    assert decode(DeltaDiscoveryRequest(type_url=SECRET).SerializeToString(), SECRET)[0].type_url == SECRET
    with pytest.raises(Malformed, match="only"):
        decode(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString(), SECRET)
