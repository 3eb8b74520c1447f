"""Who may open a stream."""

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
