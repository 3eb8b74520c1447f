"""`legation run`: whom it starts, and what it is told."""

import os
from collections.abc import Callable
from socket import gethostname

import pytest

from legation.mesh import names
from tests.cli.conftest import Home

Executed = Callable[[], tuple[str, dict[str, object]]]


def test_run_becomes_one_instance_of_the_mesh_that_runs(home: Home, executed: Executed) -> None:
    with home.host():
        done = home.legation(
            "run", "--service", "web", "--zone", "a", "--folder", "/srv", "--", "node", "web.js", "--x"
        )
    assert done.exit_code == 0, done.output
    module, given = executed()
    assert module == "legation.sidecar"
    spec = given["spec"]
    assert isinstance(spec, dict)
    assert (spec["id"], spec["zone"], spec["version"]) == (f"web-v1-{os.getpid()}", "a", "v1")
    assert given["command"][1:] == ["web.js", "--x"]  # type: ignore[index]
    assert (given["folder"], given["xds_host"]) == ("/srv", names.loopback_address(3, 255))
    assert given["addresses"][0] == names.loopback_address(3, 254), "the host gives its own slots from below"  # type: ignore[index]
    assert given["supervised"] is False


def test_run_takes_ports_of_a_gateway_and_an_address(home: Home, executed: Executed) -> None:
    words = ("--instance", "mine", "--address", "127.9.9.9", "--listen", "web=9001", "--concurrency", "2")
    with home.host():
        done = home.legation("run", "--service", names.GATEWAY, *words)
    assert done.exit_code == 0, done.output
    _, given = executed()
    assert given["addresses"] == ["127.9.9.9"]
    assert given["concurrency"] == 2
    assert given["spec"]["outbound_ports"] == {"web": 9001}  # type: ignore[index]


def test_run_joins_a_mesh_whose_xds_server_is_on_another_host(home: Home, executed: Executed) -> None:
    state = home.folder / "there"
    words = ("--xds", "10.0.0.1:15014", "--advertise", "10.0.0.2", "--state", str(state))
    done = home.legation("run", "--service", "web", *words, "--", "node", "web.js")
    assert done.exit_code == 0, done.output
    module, given = executed()
    assert module == "legation.sidecar"
    assert (given["control"], given["xds_host"], given["xds_port"]) == ("10.0.0.1:15014", "10.0.0.1", 0)
    assert (given["advertise"], given["root"]) == ("10.0.0.2", str(state))
    assert given["addresses"][0] == names.loopback_address(190, 254)  # type: ignore[index]


def test_run_in_a_container_is_told_where_its_app_is(home: Home, executed: Executed) -> None:
    there = ("--xds", "xds:15014", "--advertise", "web-mesh", "--state", str(home.folder / "there"), "--sds", "/sds/s")
    words = (
        *there,
        "--app",
        "web:80",
        "--private",
        "web-private",
        "--plain",
        "a",
        "--plain",
        "b",
        "--metrics",
        "web-mesh",
        "--logs",
        "/logs/l",
    )
    done = home.legation("run", "--service", "web", *words)
    assert done.exit_code == 0, done.output
    _, given = executed()
    assert (given["beside"], given["app"], given["private"]) == (True, "web:80", "web-private")
    assert (given["plain"], given["metrics"], given["sds"]) == (["a", "b"], "web-mesh", "/sds/s")
    assert given["logs"] == "/logs/l"
    assert given["spec"]["id"] == f"web-v1-{gethostname()}"  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--app", "web"), "--app 'web': HOST:PORT"),
        (("--private", "a", "--xds", "x:1"), "with --app HOST:PORT"),
        (("--app", "web:80", "--xds", "x:1"), "--private NAME"),
        (("--app", "web:80", "--private", "a"), "--xds HOST:PORT"),
        (("--app", "web:80", "--private", "a", "--xds", "x:1", "--", "node"), "without a command"),
        (("--xds", "10.0.0.1", "--advertise", "10.0.0.2", "--state", "x"), "--xds '10.0.0.1': HOST:PORT"),
        (("--xds", "a:1", "--advertise", "10.0.0.2"), "--state DIR"),
        (("--xds", "a:1", "--state", "x"), "needs --advertise ADDRESS"),
        (("--advertise", "here"), "an IPv4 address of this host"),
        (("--advertise", "10.0.0.2:x"), "an IPv4 address of this host"),
    ],
)
def test_run_says_what_it_needs_to_join(home: Home, words: tuple[str, ...], said: str) -> None:
    done = home.legation("run", "--service", "web", *words)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_run_without_a_mesh_in_the_folder_that_is_named(home: Home) -> None:
    done = home.legation("run", "--service", "web", "--state", str(home.folder / "other"))
    assert done.exit_code == 4
    assert "start it with legation up -f mesh.yaml" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--service", "../web"), "--service '../web': lower-case letters"),
        (("--service", "web", "--version", "V 1"), "--version 'V 1'"),
        (("--service", "web\n"), "--service"),
    ],
)
def test_run_takes_no_name_that_could_be_a_path(home: Home, words: tuple[str, ...], said: str) -> None:
    done = home.legation("run", *words)
    assert done.exit_code == 2
    assert said in done.stderr
