"""The main path: a request through every service, each hop through two Envoys over mTLS."""

import json
from collections import Counter
from typing import Any

import msgspec
from cryptography import x509

from legation.runtime.control.messages import HostStatus
from tests.support.mesh import Mesh, legation, wait_for


def test_request_passes_every_hop(shop: Mesh) -> None:
    """A plain GET answers 200, and each service's Envoy has counted it, over TLS."""
    services = {s.name: [i.id for i in s.instances] for s in shop.status().services}
    name = "http.inbound.downstream_rq_2xx"
    before = {s: sum(shop.stat(i, name) for i in ids) for s, ids in services.items()}
    answer = shop.get("/")
    assert answer.status_code == 200, answer.text
    for service, ids in services.items():
        assert sum(shop.stat(i, name) for i in ids) > before[service], service
        assert sum(shop.stat(i, "listener.inbound.ssl.handshake") for i in ids) > 0, service


def test_status_says_all_that_programs_need(shop: Mesh) -> None:
    status = _printed(shop)
    assert status["schema"] == 1
    assert status["mesh"] == "shop"
    assert status["isolation"] == "none (one uid)"
    assert {s["name"] for s in status["services"]} == {"web", "catalog", "orders", "payments"}
    for part in ("xds_server", "certmgr", "telemetry"):
        assert status[part]["pid"] > 0
        assert status[part]["control"].endswith(f"{part}.sock")
    for service in status["services"]:
        for instance in service["instances"]:
            assert instance["synced"] is True
            assert instance["healthy"] is True
            assert instance["spiffe_id"] == f"spiffe://shop.local/{service['name']}"
            assert instance["certificate_expires"].endswith("Z")
            assert all(instance["pids"][kind] > 0 for kind in ("run", "envoy", "app"))


def test_status_is_the_same_for_programs_as_over_the_control_api(shop: Mesh) -> None:
    """In one moment of two looks between which nobody has counted a request."""
    wait_for(
        "both to say the same",
        lambda: msgspec.convert(_printed(shop), HostStatus).services == shop.status().services,
        30,
    )


def _printed(shop: Mesh) -> Any:
    return json.loads(legation("status", "--state", str(shop.state), "-o", "json").stdout)


def test_both_instances_get_a_fair_share(shop: Mesh) -> None:
    seen = Counter(shop.get("/").headers["x-orders-instance"] for _ in range(60))
    assert set(seen) == {"orders-v1-0", "orders-v1-1"}
    assert min(seen.values()) >= 15, seen


def test_the_certificate_in_use_is_the_one_that_openbao_issued(shop: Mesh) -> None:
    """The Envoy's own word, the file that certmgr keeps, and the name constraint of its issuer agree."""
    bundle = (shop.state / "certmgr" / "identities" / "orders.pem").read_bytes()
    leaf, intermediate = x509.load_pem_x509_certificates(bundle)[:2]
    assert int(shop.instance("orders-v1-0").certificate_serial, 16) == leaf.serial_number
    constraints = intermediate.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = constraints.value.permitted_subtrees
    assert permitted is not None
    assert [name.value for name in permitted] == ["shop.local"]
    root = x509.load_pem_x509_certificate((shop.state / "certmgr" / "root.pem").read_bytes())
    assert "DEV" in root.subject.rfc4514_string()


def test_a_second_up_says_that_the_mesh_is_up(shop: Mesh) -> None:
    done = legation("up", "-f", str(shop.file), "--state", str(shop.state), limit=20)
    assert f"shop is up already: {shop.gateway}/" in done.stderr


def test_a_taken_port_is_named_with_the_way_out(shop: Mesh, tmp_path) -> None:
    port = shop.gateway.rpartition(":")[2]
    words = ("up", "-f", str(shop.file), "--state", str(tmp_path / "other"), "--gateway-port", port)
    done = legation(*words, check=False, limit=30)
    assert done.returncode == 3
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "--gateway-port" in done.stderr


def test_traces_of_identity_reach_the_app(shop: Mesh) -> None:
    """The access log of the callee names the caller by its SPIFFE ID."""
    shop.get("/")

    def logged() -> bool | None:
        done = legation("logs", "--state", str(shop.state), "--service", "orders", "-o", "json")
        return (
            any(r["fields"].get("peer") == "spiffe://shop.local/web" for r in json.loads(done.stdout)["records"])
            or None
        )

    wait_for("an access log record with the caller's identity", logged, 15)
