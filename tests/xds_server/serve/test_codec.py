"""Bytes on the wire and protocol values say the same."""

from dataclasses import replace
from datetime import timedelta

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.discovery.v3.discovery_pb2 import Resource as Wrapper

from xds_server.protocol.difference import between
from xds_server.protocol.types import DeltaRequest, Send, SotwRequest
from xds_server.serve.codec import RESOURCE_IN_SOTW, DeltaCodec, Malformed, SotwCodec
from xds_server.snapshot import CLUSTER, SECRET, Resource, Snapshot

DELTA, SOTW = DeltaCodec(), SotwCodec()


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_joined_bytes_are_the_response_that_protobuf_would_write(size):
    body = Cluster(name="c", alt_stat_name="x" * size).SerializeToString(deterministic=True)
    resources = (Resource.of(CLUSTER, "größe", body), Resource.of(CLUSTER, "b", b""))
    response = DeltaDiscoveryResponse.FromString(DELTA.encode(Send(CLUSTER, resources, ("gone", "too"), "7", "v"), ()))
    expected = DeltaDiscoveryResponse(
        type_url=CLUSTER, nonce="7", system_version_info="v", removed_resources=["gone", "too"]
    )
    for resource in resources:
        item = expected.resources.add(name=resource.name, version=resource.version)
        item.resource.type_url, item.resource.value = CLUSTER, resource.body
    assert response == expected
    cluster = Cluster()
    assert response.resources[0].resource.Unpack(cluster)
    assert cluster.alt_stat_name == "x" * size


def test_an_empty_response_names_its_type():
    response = DeltaDiscoveryResponse.FromString(DELTA.encode(Send(CLUSTER, (), (), "1"), ()))
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
    request, node = DELTA.decode(message.SerializeToString())
    assert request == DeltaRequest(CLUSTER, ("a",), ("b",), {"c": "v"}, "3", "no")
    assert node.id == "n"


def test_6_an_error_without_words_is_an_error():
    quiet = DeltaDiscoveryRequest(type_url=CLUSTER, error_detail={})
    assert DELTA.decode(quiet.SerializeToString())[0].error == ""
    assert DELTA.decode(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())[0].error is None


def test_2_the_type_of_a_single_type_stream_may_be_said_or_not():
    assert DELTA.decode(b"", SECRET)[0].type_url == SECRET
    assert DELTA.decode(DeltaDiscoveryRequest(type_url=SECRET).SerializeToString(), SECRET)[0].type_url == SECRET
    with pytest.raises(Malformed, match="only"):
        DELTA.decode(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString(), SECRET)


@pytest.mark.parametrize("size", [0, 127, 128, 16_384])
def test_in_state_of_the_world_the_same_bytes_are_plain_resources(size):
    resources = (Resource.of(CLUSTER, "größe" * 50, b"x" * size), Resource.of(CLUSTER, "b", b""))
    response = DiscoveryResponse.FromString(SOTW.encode(Send(CLUSTER, resources, ("gone",), "7", "v"), ()))
    expected = DiscoveryResponse(type_url=CLUSTER, nonce="7", version_info="v")
    for resource in resources:
        expected.resources.add(type_url=CLUSTER, value=resource.body)
    assert response == expected


def test_a_state_of_the_world_request_is_read_in_full():
    message = DiscoveryRequest(
        type_url=CLUSTER,
        resource_names=["a", "b"],
        version_info="v",
        response_nonce="3",
        error_detail={"message": "no"},
        node={"id": "n"},
    )
    request, node = SOTW.decode(message.SerializeToString())
    assert request == SotwRequest(CLUSTER, ("a", "b"), "v", "3", "no")
    assert node.id == "n"
    with pytest.raises(Malformed, match="resource locators"):
        SOTW.decode(DiscoveryRequest(type_url=CLUSTER, resource_locators=[{"name": "x"}]).SerializeToString())
    with pytest.raises(Malformed, match="not a DiscoveryRequest"):
        SOTW.decode(b"\xff\xff")


def test_45_a_ttl_goes_with_its_resource_and_a_heartbeat_without():
    lasting = Resource.of(CLUSTER, "a", b"x", ttl=timedelta(seconds=1.5))
    full = DeltaDiscoveryResponse.FromString(DELTA.encode(Send(CLUSTER, (lasting,), (), "1"), ())).resources[0]
    assert (full.ttl.ToTimedelta(), full.resource.value) == (lasting.ttl, b"x")
    beat = Send(CLUSTER, (lasting,), (), "2", heartbeat=True)
    short = DeltaDiscoveryResponse.FromString(DELTA.encode(beat, ())).resources[0]
    assert (short.name, short.version, short.ttl) == (full.name, full.version, full.ttl)
    assert not short.HasField("resource")


def test_45_in_state_of_the_world_a_ttl_is_for_clients_that_take_wrapped_resources():
    lasting, plain = Resource.of(CLUSTER, "a", b"x", ttl=timedelta(seconds=1)), Resource.of(CLUSTER, "b", b"y")
    send = Send(CLUSTER, (lasting, plain), (), "1")
    without = DiscoveryResponse.FromString(SOTW.encode(send, ()))
    assert [r.type_url for r in without.resources] == [CLUSTER, CLUSTER]
    wrapped, bare = DiscoveryResponse.FromString(SOTW.encode(send, {RESOURCE_IN_SOTW})).resources
    inner = Wrapper()
    assert wrapped.Unpack(inner)
    assert (inner.name, inner.ttl.seconds, inner.resource.value, bare.value) == ("a", 1, b"x", b"y")


@pytest.mark.parametrize("codec", [DELTA, SOTW])
def test_what_many_streams_are_sent_is_the_same_but_for_the_nonce(codec):
    before, after = Snapshot.of(), Snapshot.of([Resource.of(CLUSTER, "a", b"x"), Resource.of(CLUSTER, "b", b"y")])
    change = between(before.of_type(CLUSTER), after.of_type(CLUSTER))
    parse = DeltaDiscoveryResponse.FromString if codec is DELTA else DiscoveryResponse.FromString
    for nonce in ("1", "12345678901234567890"):
        alone = Send(CLUSTER, change.upserts, (), nonce, "v")
        assert parse(codec.encode(replace(alone, shared=change), ())) == parse(codec.encode(alone, ()))
    assert len(change.encoded) == 1
