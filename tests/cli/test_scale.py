"""`legation scale`: what follows the load, and what a policy would have made of a recorded one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from msgspec.structs import replace

from legation.runtime.control.messages import Scaling, ServiceStatus
from tests.cli.conftest import GOOD, Home

POLICY = GOOD.replace("port: 8080}", "port: 8080, autoscale: {max: 4, requests_per_second: 100}}")
SCALED = Scaling(
    service="web", version="v1", desired=3, ready=2, minimum=1, maximum=4, reason="3 needed; 250 in all",
    change="1 to 3: 3 needed", changed_at=0.0,
)  # fmt: skip


def test_what_follows_the_load_is_listed(home: Home) -> None:
    with home.host() as host:
        done = home.legation("scale", "list")
        assert (done.exit_code, "nothing follows its load" in done.output) == (0, True)
        host.status = replace(host.status, services=(ServiceStatus(name="web", instances=(), scaling=(SCALED,)),))
        done = home.legation("scale", "list")
        assert done.exit_code == 0, done.output
        assert "3 needed; 250 in all" in done.output
        assert "last change, 1970-01-01T00:00:00Z: 1 to 3: 3 needed" in done.output
        (said,) = json.loads(home.legation("scale", "list", "-o", "json").stdout)["scaling"]
        assert (said["desired"], said["ready"]) == (3, 2)
        blind = replace(SCALED, blind=True, change="")
        host.status = replace(host.status, services=(ServiceStatus(name="web", instances=(), scaling=(blind,)),))
        assert home.legation("scale", "list").exit_code == 3
        host.status = replace(host.status, services=(), problems=("nothing is scaled: no luck",))
        done = home.legation("scale", "list")
        assert (done.exit_code, "nothing is scaled: no luck" in done.output) == (3, True)


def test_a_recorded_load_is_replayed(home: Home) -> None:
    home.write(POLICY)
    rows = [f"{at},{350 if 300 <= at < 600 else 50}" for at in range(0, 1800, 15)]
    Path("load.csv").write_text("\n".join(["time,requests_per_second", *rows]))
    done = home.legation("scale", "simulate", "web", "--csv", "load.csv", "-f", "mesh.yaml")
    assert done.exit_code == 3, "it was short for a moment"
    assert "web: 1 to 4 instances, 1970-01-01T00:00:00Z to 1970-01-01T00:29:45Z (0.5 h)" in done.output
    assert "raised 1 times, lowered 1 times, 1 of them back within ten minutes" in done.output
    assert "load above 110% of what served for 15 s" in done.output
    assert "    4 │" in done.output
    enough = ("--begin", "4", "-o", "json")
    Path("load.csv").write_text("time,requests_per_second\n0,50\n15,50\n")
    done = home.legation("scale", "simulate", "web", "--csv", "load.csv", "-f", "mesh.yaml", *enough)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [step["desired"] for step in said["steps"]] == [4, 4]
    assert said["short_seconds"] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("orders",), 2, "orders does not follow its load in this mesh file (known here: web)"),
        (("web",), 2, "no load is named: --csv FILE, --prometheus-url URL, or prometheus.url in mesh.yaml"),
        (("web", "--csv", "none.csv"), 2, "cannot read none.csv"),
        (("web", "--csv", "mesh.yaml"), 3, "mesh.yaml: line 1"),
        (("web", "--csv", "l.csv", "--start-delay", "soon"), 2, "--start-delay: 'soon' is no duration"),
        (("web", "--prometheus-url", "http://127.0.0.1:1", "--since", "soon"), 2, "--since: 'soon' is no duration"),
        (("web", "--prometheus-url", "http://127.0.0.1:1"), 4, "http://127.0.0.1:1 does not answer"),
    ],
)
def test_what_cannot_be_simulated_is_said(home: Home, words: tuple[str, ...], code: int, said: str) -> None:
    home.write(POLICY)
    Path("l.csv").write_text("time,requests_per_second\n0,50\n")
    done = home.legation("scale", "simulate", "-f", "mesh.yaml", *words)
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_latency_alone_cannot_be_simulated(home: Home) -> None:
    home.write(POLICY.replace("requests_per_second: 100", "latency: 100ms"))
    done = home.legation("scale", "simulate", "web", "-f", "mesh.yaml", "--csv", "x")
    assert (done.exit_code, "nobody knows" in done.output) == (2, True)


@contextmanager
def prometheus(answer: Any, asked: list[dict[str, list[str]]], status: int = 200) -> Iterator[str]:
    """A Prometheus that gives one answer; what it is asked is kept."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            words = self.rfile.read(int(self.headers["content-length"])).decode()
            asked.append({"path": [self.path], **parse_qs(words)})
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_load_is_taken_from_a_prometheus(home: Home) -> None:
    samples = [[at, "150"] for at in range(0, 300, 15)]
    answer = {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": samples}]}}
    asked: list[dict[str, list[str]]] = []
    with prometheus(answer, asked) as url:
        home.write(POLICY + f"prometheus: {{url: {url}}}\n")
        done = home.legation("scale", "simulate", "web", "-f", "mesh.yaml", "-o", "json", "--since", "2h")
    assert done.exit_code == 3, done.output
    assert {step["desired"] for step in json.loads(done.stdout)["steps"]} == {2}
    (words,) = asked
    assert words["path"] == ["/api/v1/query_range"]
    assert words["query"][0].startswith("sum(rate(envoy_http_downstream_rq_xx{")
    assert float(words["end"][0]) - float(words["start"][0]) == pytest.approx(7200)
    nothing = {"data": {"resultType": "matrix", "result": []}}
    with prometheus(nothing, asked) as url:
        done = home.legation("scale", "simulate", "web", "-f", "mesh.yaml", "--prometheus-url", url)
    assert (done.exit_code, "has recorded nothing of web in the last 24h" in done.output) == (3, True)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"error": "query too long"}, 422, "refuses: query too long"),
        (b"<html>", 502, "refuses: HTTP Error 502"),
        (b"<html>", 200, "is no Prometheus"),
        ({"data": {"resultType": "string", "result": []}}, 200, "in a form that is not known"),
        ({"data": {"resultType": "matrix", "result": [{}]}}, 200, "in a form that is not known"),
    ],
)
def test_a_prometheus_that_is_none_is_said(home: Home, answer: Any, status: int, said: str) -> None:
    home.write(POLICY)
    with prometheus(answer, [], status) as url:
        done = home.legation("scale", "simulate", "web", "-f", "mesh.yaml", "--prometheus-url", url)
    assert (done.exit_code, said in done.output) == (4, True), done.output


def test_policies_become_manifests(home: Home) -> None:
    home.write(POLICY)
    done = home.legation("render", "kubernetes", "out", "-f", "mesh.yaml", "--namespace", "shop")
    assert done.exit_code == 0, done.output
    assert "kubectl apply -f out/keda" in done.output
    assert "namespace: shop" in Path("out/hpa/web.yaml").read_text()
    home.write(GOOD)
    assert "nothing follows the load" in home.legation("render", "kubernetes", "no", "-f", "mesh.yaml").output
