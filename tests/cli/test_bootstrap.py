"""`legation render bootstrap` and `validate --envoy`: for Envoys that teams run themselves."""

import json

import pytest

from tests.cli.conftest import GOOD, Home
from tests.support.envoys import envoy

WORDS = ("render", "bootstrap", "--service", "web", "--address", "10.0.0.7", "--app-port", "8080")
FILE = ("-f", "mesh.yaml")


def test_everything_is_asked_of_where_it_was_said(home: Home) -> None:
    home.write()
    done = home.legation(*WORDS, *FILE, "--xds", "10.0.0.1:15010", "--sds", "web.sock", "--zone", "b")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    said = found["node"]["metadata"]
    assert found["node"]["id"] == "web-v1-10-0-0-7"
    assert (said["standalone"], said["address"], said["zone"]) == (True, "10.0.0.7", "b")
    assert "lacks" not in said
    assert '"10.0.0.1"' in done.stdout
    assert f'"{home.folder}/web.sock"' in done.stdout
    assert "takes requests once it has its configuration" in done.stderr


def test_of_the_mesh_that_runs_everything_is_known(home: Home) -> None:
    with home.host() as host:
        done = home.legation(*WORDS)
        assert done.exit_code == 0, done.output
        assert str(host.state.sds("web")) in done.stdout
        assert '"127.67.255.1"' in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--xds", "10.0.0.1:15010", "--service", "nobody"), "--service 'nobody': mesh shop has web"),
        (("--xds", "10.0.0.1:15010", "--only", "logs"), "certificates or telemetry is taken"),
        (("--xds", "10.0.0.1:15010", "--address", "0.0.0.0"), "--address '0.0.0.0': one IP address is taken"),
        (("--xds", "10.0.0.1:15010", "--app-address", "app"), "--app-address 'app': one IP address is taken"),
        (("--xds", "10.0.0.1"), "--xds '10.0.0.1': HOST:PORT, as"),
        (("--xds", "10.0.0.1:99999"), "--xds '10.0.0.1:99999': HOST:PORT, as"),
        ((), "say where xds_server listens for Envoys with --xds HOST:PORT"),
        (("--only", "telemetry", "--envoy", "/bin/true"), "/bin/true is no Envoy"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(home: Home, more: tuple[str, ...], said: str) -> None:
    home.write()
    done = home.legation(*WORDS, *FILE, *more)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_part_needs_no_xds_server(home: Home) -> None:
    home.write()
    for part, said in (("certificates", "render it again when that changes"), ("telemetry", "10.0.0.7:15090")):
        done = home.legation(*WORDS, *FILE, "--only", part)
        assert done.exit_code == 0, done.output
        assert said in done.stderr
        assert "dynamic_resources" not in json.loads(done.stdout)


def test_telemetry_is_told_of_one_that_takes_it_alone(home: Home) -> None:
    home.write()
    words = (*WORDS, *FILE, "--only", "telemetry", "--metrics-port", "9000")
    assert "services.web.telemetry_only: [{address: 10.0.0.7, port: 9000}]" in home.legation(*words).stderr
    named = GOOD.replace("port: 8080}", "port: 8080, telemetry_only: [{address: 10.0.0.7, port: 9000}]}")
    assert named != GOOD
    home.write(named)
    assert "telemetry tells Prometheus of it" in home.legation(*words).stderr


def test_an_envoy_is_told_what_it_misses(home: Home) -> None:
    """Of the mesh as a whole, and of what is rendered for it."""
    old, new = envoy("1.38.3"), envoy("1.40.0")
    home.write("passthrough: true\n" + GOOD.lstrip())
    done = home.legation("validate", "--envoy", str(old))
    assert done.exit_code == 0, done.output
    assert "Envoy 1.38.3 takes the mesh, without some parts of it" in done.stderr
    assert "left out for Envoy 1.38.3: bare CR, bare LF and folded lines" in done.stderr
    assert "left out for Envoy 1.38.3: `passthrough` denies by a name's first address" in done.stderr
    said = json.loads(home.legation("validate", "--envoy", str(old), "-o", "json").stdout)
    assert (said["envoy"], len(said["lost"])) == ("1.38.3", 6)
    assert "Envoy 1.40.0 takes the mesh\n" in home.legation("validate", "--envoy", str(new)).stderr
    done = home.legation(*WORDS, *FILE, "--only", "certificates", "--envoy", str(old))
    assert "left out for Envoy 1.38.3" in done.stderr
    assert "http1_lines" not in done.stdout


def test_what_an_envoy_rejects_is_a_violation_of_its_line(home: Home) -> None:
    (home.folder / "mesh.yaml").write_text(
        GOOD + "  api: {protocol: http, port: 1, routes: [{match: {regex: 'a{1001}'}}]}\n"
        "  shop: {protocol: http, port: 2, calls: [api]}\n"
    )
    done = home.legation("validate", "--envoy", str(envoy("1.40.0")))
    assert done.exit_code == 3
    assert done.stdout.startswith("mesh.yaml:5:")
    assert "Envoy rejects the RouteConfiguration 'api'" in done.stdout
