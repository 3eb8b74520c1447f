"""Requests through the running shop, as a real Jaeger shows them; and a Jaeger that is none any more."""

import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.jaeger import Jaeger, Node, jaeger
from tests.support.mesh import PLAIN, ROOT, Mesh, legation, wait_for
from tests.xds_server.serve.envoy import free_port

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


GIFT = """
legation-gateway server GET gifts
  gifts server GET gifts
    gifts client GET catalog
      catalog server GET catalog
"""


def with_python(text: str) -> str:
    """Have an app in Python beside the shop's, as examples/python says."""
    app = ROOT / "examples" / "python" / "server.py"
    service = "  gifts:\n    {protocol: http, port: 8083, calls: [catalog], health_check: {path: /healthz}, "
    service += f"expose: {{port: {free_port()}}}}}\n"
    workload = f"  - {{service: gifts, command: ['{sys.executable}', '{app}']}}\n"
    return text.replace("\nservices:\n", f"\nservices:\n{service}", 1) + workload


def pick_gift(shop: Mesh) -> str:
    """Have a gift picked by the app in Python; return its trace."""
    trace = secrets.token_hex(16)
    port = json.loads((shop.state / "host.json").read_text())["gateway_ports"]["gifts"]
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert httpx.get(f"http://127.0.0.1:{port}/", headers=headers, trust_env=False, verify=PLAIN).status_code == 200
    return trace


def place_order(shop: Mesh) -> str:
    """Order something, as a client that traces; return its trace."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert shop.request("POST", "/orders", json={"item": "tea"}, headers=headers).status_code == 201
    return trace


def change(shop: Mesh, receiver: Jaeger) -> None:
    """A change of mesh.yaml is one trace: from the file to the answer of each proxy; and so is a new certificate."""
    saved = time.time()
    legation("certs", "rotate", "orders", "--state", str(shop.state))
    with shop.edited(lambda text: text + "\nexternal:\n  mail: {host: mail.example.com, port: 443, tls: true}\n"):
        version = shop.version()
    root = wait_for("the trace of the change", lambda: of_version(receiver, version), 30)
    assert [step.name for step in root.children] == ["load", "compile", "prove", "store", "publish"]
    publish = root.children[-1]
    assert {step.name for step in publish.children} == {f"ACK {instance}" for instance in shop.ids()}
    starts = [root.start, *(step.start for step in root.children), *(step.start for step in publish.children[:1])]
    assert starts == sorted(starts)
    assert saved - 1 < root.start < min(step.start for step in publish.children) < time.time()
    assert (root.service, root.process["service.namespace"]) == ("legation-xds-server", "shop")
    assert root.tags["legation.by"].endswith("(legation up)")
    certificate = wait_for("the trace of the certificate", lambda: renewed(receiver), 30)
    assert [step.name for step in certificate.children] == ["issue", "keep", "ACK"]


def of_version(receiver: Jaeger, version: str) -> Node | None:
    found = receiver.work("legation-xds-server", "change mesh")
    return next((root for root in found if root.tags.get("legation.version") == version), None)


def renewed(receiver: Jaeger) -> Node | None:
    found = receiver.work("legation-certmgr", "renew certificate")
    return next((root for root in found if root.tags["legation.identity"] == "orders"), None)


def test_a_request_is_one_trace_with_every_hop_and_costs_nothing_without_a_receiver(shop: Mesh, tmp_path: Path) -> None:
    with jaeger(tmp_path) as receiver, shop.edited(lambda text: with_python(traced(receiver.otlp)(text))):
        # connections from before the change know nothing of traces until they are drained
        root = wait_for("a whole trace", lambda: receiver.trace(place_order(shop), 8, 8), 90)
        assert root.lines() == TREE.strip().split("\n")
        (web,) = root.children
        assert web.process["service.instance.id"] == shop.first("web").id
        assert web.process["service.version"] == "v1"
        assert web.tags["legation.peer"] == "spiffe://shop.local/legation/gateway"
        gift = wait_for("a trace through Python", lambda: receiver.trace(pick_gift(shop), 4, 8), 60)
        assert gift.lines() == GIFT.strip().split("\n")
        change(shop, receiver)
        for fail in (receiver.hang, receiver.kill):
            fail()
            begun = time.monotonic()
            for _ in range(20):
                place_order(shop)
            assert time.monotonic() - begun < 10, "no request waits for the receiver"
