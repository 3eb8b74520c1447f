"""Who may open a stream."""

from dataclasses import replace

import pytest

from legation.mesh.instance import InstanceSpec
from xds_server.compile.bootstrap import metadata as of
from xds_server.identify import BadNode, instance_of, rejection

NODE = InstanceSpec(
    "orders-v1-0", "orders", "v1", "1", "127.64.1.1", 15006, app_port=20001, outbound_ports={"payments": 15100}
)


def metadata() -> dict[str, object]:
    return dict(of(NODE))


def test_a_node_says_of_itself_what_its_bootstrap_was_made_from() -> None:
    assert instance_of(NODE.id, metadata()) == NODE


def test_the_app_of_a_container_may_be_a_name_and_no_other_is() -> None:
    named = replace(NODE, by_name=True, app_address="orders", plain_addresses=("10.0.0.1",), metrics_address="10.0.0.2")
    assert instance_of(NODE.id, dict(of(named))) == named
    for bad in ({"by_name": False}, {"app_address": "or ders"}, {"address": "orders"}):
        with pytest.raises(BadNode, match="is no address that can be connected to"):
            instance_of(NODE.id, {**dict(of(named)), **bad})


@pytest.mark.parametrize("key", ["service", "version", "boot", "address"])
def test_what_is_missing_is_named(key: str) -> None:
    given = metadata()
    del given[key]
    with pytest.raises(BadNode, match=key):
        instance_of(NODE.id, given)


@pytest.mark.parametrize("key", ["service", "version", "boot", "address"])
def test_what_is_empty_is_named(key: str) -> None:
    with pytest.raises(BadNode, match=f"metadata {key} empty"):
        instance_of(NODE.id, {**metadata(), key: ""})


def test_ports_that_are_none_are_rejected() -> None:
    with pytest.raises(BadNode):
        instance_of(NODE.id, {**metadata(), "port": "many"})
    with pytest.raises(BadNode, match="outbound_ports"):
        instance_of(NODE.id, {**metadata(), "outbound_ports": "15100"})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"port": 0}, "port 0 is no port"),
        ({"port": -1}, "port -1 is no port"),
        ({"port": 70000}, "port 70000 is no port"),
        ({"app_port": 1 << 40}, "app_port 1099511627776 is no port"),
        ({"outbound_ports": {"payments": -5}}, "outbound_ports 'payments' -5 is no port"),
        ({"address": "elsewhere"}, "address 'elsewhere' is no address"),
        ({"address": "0.0.0.0"}, "address '0.0.0.0' is no address"),
        ({"address": "ff02::1"}, "address 'ff02::1' is no address"),
        ({"app_address": "x" * 5000}, "app_address 'xxx"),
        ({"version": "v1\n"}, r"version 'v1\\n' is not"),
        ({"boot": "\x1b[31m"}, "boot "),
        ({"zone": "z" * 254}, "zone 'zzz"),
    ],
    ids=str,
)
def test_what_no_other_proxy_could_be_given_is_rejected(given: dict[str, object], says: str) -> None:
    with pytest.raises(BadNode, match=says) as caught:
        instance_of(NODE.id, {**metadata(), **given})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("node_id", ["", "a b", "a\x1b[2Jb", "n" * 254])
def test_an_id_can_be_shown(node_id: str) -> None:
    with pytest.raises(BadNode, match="id "):
        instance_of(node_id, metadata())


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("spiffe://shop.local/orders", True),
        ("spiffe://shop.local/payments", False),
        ("spiffe://other.local/orders", False),
        (None, False),
    ],
)
def test_a_certificate_must_be_that_of_the_service(peer: str | None, admitted: bool) -> None:
    assert (rejection(NODE, peer, "shop.local") is None) is admitted
