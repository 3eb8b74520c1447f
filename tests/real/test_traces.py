"""Requests through the running shop, as a real Jaeger shows them; and a Jaeger that is none any more."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.jaeger import jaeger
from tests.support.mesh import Mesh, wait_for

pytestmark = pytest.mark.timeout(900)  # the first time, Jaeger is built
TREE = """
legation-gateway server POST web
  web server POST web
    web client GET catalog
      catalog server GET catalog
    web client POST orders
      orders server POST orders
        orders client /payments.Payments/Charge
          payments server /payments.Payments/Charge
"""


def traced(port: int) -> Callable[[str], str]:
    tracing = f"tracing: {{otlp: {{host: 127.0.0.1, port: {port}}}, from_outside: continue}}\n"
    return lambda text: text.replace("\nservices:\n", f"\n{tracing}\nservices:\n", 1)


def place_order(shop: Mesh) -> str:
    """Order something, as a client that traces; return its trace."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert shop.request("POST", "/orders", json={"item": "tea"}, headers=headers).status_code == 201
    return trace


def test_a_request_is_one_trace_with_every_hop_and_costs_nothing_without_a_receiver(shop: Mesh, tmp_path: Path) -> None:
    with jaeger(tmp_path) as receiver, shop.edited(traced(receiver.otlp)):
        # connections from before the change know nothing of traces until they are drained
        root = wait_for("a whole trace", lambda: receiver.trace(place_order(shop), 8, 8), 90)
        assert root.lines() == TREE.strip().split("\n")
        (web,) = root.children
        assert web.process["service.instance.id"] == shop.first("web").id
        assert web.process["service.version"] == "v1"
        assert web.tags["legation.peer"] == "spiffe://shop.local/legation/gateway"
        for fail in (receiver.hang, receiver.kill):
            fail()
            begun = time.monotonic()
            for _ in range(50):
                place_order(shop)
            assert time.monotonic() - begun < 25, "no request waits for the receiver"
