"""Spans to a receiver over TLS: it is verified, and gets nothing otherwise."""

import re
import secrets

import grpc
import httpx
import pytest

from legation.mesh import names
from tests.support.otlp import receiving
from tests.xds_server.compile.fleet import App, Fleet, wait_for
from tests.xds_server.compile.test_external import certificate
from tests.xds_server.compile.test_tracing import World, mesh
from xds_server.compile.outside import SYSTEM_CA


@pytest.mark.parametrize("vouched", [True, False], ids=["its CA is known", "nobody vouches for it"])
def test_spans_go_over_verified_tls(tmp_path, vouched):
    ca = certificate(tmp_path)
    pair = ((tmp_path / "outside.key").read_bytes(), ca.read_bytes())
    with receiving(grpc.ssl_server_credentials([pair])) as receiver:
        text = mesh(receiver.port, "continue").replace("host: 127.0.0.1", "host: localhost, tls: true, CA")
        fleet = Fleet(text.replace("CA", f"ca: {ca if vouched else SYSTEM_CA}"), tmp_path)
        node = fleet.add("web")
        fleet.add("orders")
        fleet.add(names.GATEWAY)
        app = App(node.address, "web")
        with fleet.running():
            here = World(fleet, {"web": app}, receiver)
            trace = secrets.token_hex(16)
            here.get("/", traceparent=f"00-{trace}-{secrets.token_hex(8)}-01")
            if vouched:
                here.spans(trace, 2)
            else:
                wait_for(lambda: has_failed(fleet, "web-v1"))
                assert receiver.spans == []
        app.stop()


def has_failed(fleet: Fleet, name: str) -> bool:
    """Say whether a proxy could not connect to the receiver."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=fleet.admin(name)), base_url="http://envoy") as admin:
        found = re.search(r"^legation-traces::.*::cx_connect_fail::(\d+)$", admin.get("/clusters").text, re.MULTILINE)
    return found is not None and int(found[1]) > 0
