"""The shop in docker compose, on a real Docker Engine, from nothing to nothing.

In order: each test finds what the one before has left.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from legation.runtime import binaries
from tests.compose.live.project import APPS, Capture, Project
from tests.support.mesh import wait_for

pytestmark = pytest.mark.timeout(240)


def test_requests_pass_through_all_hops_once_up_returns(project: Project) -> None:
    answer = project.get("/")
    assert answer.status_code == 200, answer.text
    assert {"x-instance", "x-catalog-instance", "x-orders-instance", "x-payments-instance"} <= set(answer.headers)
    sys.stdout.write(f"up took {project.seconds:.0f} s\n")


def test_only_the_gateway_is_published(project: Project) -> None:
    published = {c.service for c in project.containers() if c.published}
    assert published == {"legation-gateway"}


def test_a_sidecar_weighs_little_more_than_its_envoy(project: Project) -> None:
    """Its process at most 30 MB beside Envoy's own, its image at most 60 MB beside Envoy's program."""
    weights = {c.service: project.resident(c) for c in project.containers() if c.service.endswith("-sidecar")}
    sys.stdout.write(f"legation run: {', '.join(f'{name} {weight:.1f} MB' for name, weight in weights.items())}\n")
    assert weights
    assert max(weights.values()) <= 30
    image = project.environment.get("LEGATION_SIDECAR_IMAGE", "legation-sidecar")
    size = int(project.docker("image", "inspect", "-f", "{{.Size}}", image))
    assert size <= binaries.envoy().stat().st_size + 60e6


def test_what_is_not_called_is_refused(project: Project) -> None:
    assert project.get("/proxy/catalog/items").status_code == 200
    refused = project.request("POST", "/proxy/catalog/items")
    assert (refused.status_code, refused.text) == (403, "RBAC: access denied")
    assert project.fetch("web", "http://catalog:8080/items").startswith("200")
    urls = ("http://payments:9090/", "http://catalog:9090/", "http://orders-sidecar:15006/")
    with ThreadPoolExecutor(len(urls)) as pool:  # docker takes ten seconds to say that nobody has a name
        for url, answer in zip(urls, pool.map(lambda url: project.fetch("web", url), urls), strict=True):
            assert answer.startswith("error"), url
    # another name at the port that catalog and orders share
    assert project.fetch("web", "http://catalog:8080/", host="payments").startswith("404")


def test_on_the_wire_between_sidecars_there_is_no_plain_text(project: Project) -> None:
    marker = b"aSecretThatNobodyMayRead"
    path = f"/proxy/orders/hits?key={marker.decode()}"
    with Capture(project.bridge("legation-mesh")) as mesh, Capture(project.bridge("orders-private")) as private:
        assert project.get(path).status_code == 200
        wait_for("the app's own network has it", lambda: marker in private.seen(), 10)
    assert len(mesh.seen()) > 1000
    assert marker not in mesh.seen()


def test_no_apps_port_is_reachable_but_through_its_sidecar(project: Project) -> None:
    for service, reached in project.reached(APPS):
        assert reached == ({service} if service in APPS else set()), service


def test_certificates_are_rotated_and_revoked_as_vault_sees_it(project: Project) -> None:
    before = project.serials()
    project.certs("rotate", "orders")
    after = project.serials()
    assert after["orders"] != before["orders"]
    assert after["web"] == before["web"]
    project.certs("revoke", "orders", "--wait", "20")
    assert project.serials()["orders"] != after["orders"]
    assert int(after["orders"], 16) in project.revoked()
    assert project.get("/").status_code == 200


def test_nobody_has_a_root_token_and_the_key_that_unseals_is_in_one_volume(project: Project) -> None:
    holders = {c.service for c in project.containers() if any(v.endswith("legation-vault-keys") for v in c.volumes)}
    assert holders == {"legation-init"}
    for container in project.containers():
        said = json.dumps([container.environment, container.command]).lower()
        assert not any(word in said for word in ("token", "secret", "password")), container.service


def test_down_and_up_keep_every_identity(project: Project) -> None:
    root, serials = project.root(), project.serials()
    project.compose("down")
    project.up()
    assert project.get("/").status_code == 200
    assert project.root() == root
    assert project.serials() == serials
