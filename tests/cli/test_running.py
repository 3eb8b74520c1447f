"""The commands about a mesh that runs: words, exit codes and formats, beside a fake host."""

import json
import os
import signal
import sys
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from ruamel.yaml import YAML

import legation.cli.up
from legation.cli import main as command
from legation.mesh import names
from legation.runtime.control.messages import ServiceStatus
from tests.cli.conftest import BAD, GOOD, Home
from tests.support.programs import script
from tests.support.samples import STATUS, UP, WEB

Executed = Callable[[], tuple[str, dict[str, object]]]


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
@pytest.mark.parametrize(("problems", "code"), [((), 0), (("no luck",), 3)])
def test_status_in_every_format_has_the_same_exit_code(
    home: Home, form: str, problems: tuple[str, ...], code: int
) -> None:
    with home.host() as host:
        host.status = replace(host.status, problems=problems)
        done = home.legation("status", "-o", form)
    assert done.exit_code == code, done.output
    if form == "table":
        assert "web-v1-0" in done.stdout
        assert ("! no luck" in done.stdout) is bool(problems)
    else:
        said = json.loads(done.stdout) if form == "json" else YAML(typ="safe").load(done.stdout)
        assert (said["schema"], said["mesh"], tuple(said["problems"])) == (1, "shop", problems)
        assert said["services"][0]["instances"][0]["pids"]["app"] == 3


def test_a_mesh_is_named_by_its_file_or_its_folder(home: Home) -> None:
    home.write()
    with home.host():
        assert home.legation("status", "-f", "mesh.yaml").exit_code == 0
        assert home.legation("status", "--state", str(home.state().root)).exit_code == 0
    done = home.legation("status", "--state", str(home.folder / "other"))
    assert done.exit_code == 4
    assert "start it with legation up -f mesh.yaml" in done.stderr


def test_of_several_meshes_one_is_to_be_chosen(home: Home) -> None:
    with home.host(), home.host("tour"):
        done = home.legation("status")
        assert done.exit_code == 2
        assert done.stderr == "several meshes run here (shop, tour): choose one with -f mesh.yaml or --state DIR\n"
    assert home.legation("status").exit_code == 4, "what has died is none of them"


def test_down_waits_for_the_end(home: Home) -> None:
    with home.host() as host:
        done = home.legation("down")
        assert host.process.poll() is not None
    assert done.exit_code == 0
    assert done.stderr.endswith("shop is down\n")
    again = home.legation("down", "--state", str(home.state().root))
    assert (again.exit_code, again.stderr) == (0, f"no mesh runs from {home.state().root}\n")


def test_down_says_what_still_runs(home: Home) -> None:
    with home.host() as host:
        host.ends = False
        done = home.legation("down", "--wait", "0.2")
        assert done.exit_code == 5
        assert f"pid {host.process.pid} still runs; logs are in {home.state().logs}" in done.stderr


def test_down_of_a_host_that_does_not_answer_says_how_to_end_it(home: Home) -> None:
    with home.host() as host:
        home.state().control("host").unlink()
        done = home.legation("down")
        assert done.exit_code == 4
        assert f"kill {host.process.pid}" in done.stderr


def test_up_hands_over_what_it_has_read(home: Home, executed: Executed) -> None:
    home.write()
    done = home.legation("up", "--gateway-port", "0")
    assert done.exit_code == 0, done.output
    module, given = executed()
    assert module == "legation.host"
    assert (given["text"], given["gateway_port"], given["root"]) == (GOOD, 0, str(home.state().root))
    assert given["file"] == str(home.folder / "mesh.yaml")


def test_up_of_a_bad_file_says_all_violations(home: Home) -> None:
    home.write(BAD)
    done = home.legation("up")
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 2


def test_up_of_what_is_up_says_where_and_how_to_go_on(home: Home) -> None:
    home.write()
    end = f"edit mesh.yaml to change it, legation down --state {home.state().root} ends it\n"
    with home.host() as host:
        done = home.legation("up")
        assert (done.exit_code, done.stderr) == (0, f"shop is up already: no service is exposed; {end}")
        host.status = replace(host.status, gateway="http://127.0.0.1:8080/")
        done = home.legation("up", "-d")
        assert (done.exit_code, done.stderr) == (0, f"shop is up already: http://127.0.0.1:8080/; {end}")


@pytest.mark.parametrize("words", [("up",), ("up", "-d"), ("up", "-d", "--wait", "5")], ids=" ".join)
def test_up_of_another_mesh_in_a_folder_that_is_taken_is_a_finding(home: Home, words: tuple[str, ...]) -> None:
    home.write(GOOD.replace("mesh: shop", "mesh: other"))
    state = home.state().root
    with home.host():
        done = home.legation(*words, "--state", str(state))
    said = f"mesh shop runs from {state}, by {home.folder / 'mesh.yaml'}: end it first (legation down --state {state})"
    assert (done.exit_code, done.stderr) == (3, f"{said}, or choose another --state DIR\n")


def test_up_of_another_file_of_a_mesh_that_is_up_is_a_finding(home: Home) -> None:
    home.write()
    (home.folder / "copy.yaml").write_text(GOOD)
    with home.host():
        done = home.legation("up", "-f", "copy.yaml")
    assert done.exit_code == 3
    assert f"by {home.folder / 'mesh.yaml'}: end it first" in done.stderr


def test_up_and_wait_says_what_is_missing(home: Home) -> None:
    home.write()
    with home.host() as host:
        assert home.legation("up", "-d", "--wait", "5").exit_code == 0
        ill = replace(WEB, healthy=False, state="restarting")
        host.status = replace(STATUS, services=(ServiceStatus(name="web", instances=(ill,)),))
        done = home.legation("up", "--wait", "0.5")
        assert done.exit_code == 5
        assert "waiting: web-v1-0 is restarting" in done.stderr
        assert "not up after 0 s:\n  web-v1-0 is restarting\n" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else's")
def test_up_in_a_folder_of_another_user_is_a_finding(home: Home) -> None:
    home.write()
    home.state().logs.mkdir(parents=True)
    os.chown(home.state().logs, 12345, 12345)
    done = home.legation("up")
    assert done.exit_code == 3
    assert "belongs to another user" in done.stderr


@pytest.mark.parametrize(("code", "left"), [(3, 3), (77, 1)])
def test_a_start_behind_that_fails_says_why(home: Home, monkeypatch: pytest.MonkeyPatch, code: int, left: int) -> None:
    monkeypatch.setattr(sys, "executable", str(script(home.folder / "python", f"echo no luck; exit {code}")))
    home.write()
    done = home.legation("up", "-d")
    assert done.exit_code == left
    assert "shop is starting" in done.stderr
    assert "no luck" in done.stderr


def test_a_start_behind_returns_once_it_answers(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    words = home.folder / "words"
    monkeypatch.setattr(sys, "executable", str(script(home.folder / "python", f'echo "$@" > {words}; exec sleep 60')))
    home.write()
    asked: list[int] = []

    async def ask(_: object) -> object:
        asked.append(1)
        return STATUS if len(asked) > 1 else None

    monkeypatch.setattr(legation.cli.up, "_ask", ask)
    done = home.legation("up", "-d", "--gateway-port", "9000")
    assert done.exit_code == 0, done.output
    assert "shop is up: no service is exposed" in done.stderr
    os.kill(int(done.stderr.partition("(pid ")[2].partition(")")[0]), signal.SIGKILL)
    assert words.read_text().split()[2:4] == ["up", "-f"]
    assert words.read_text().endswith("--gateway-port 9000\n")


def late(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `up` look before the mesh answers that was started a moment ago, and what it starts find it there."""
    monkeypatch.setattr(legation.cli.up, "_running", lambda _: None)
    monkeypatch.setattr(legation.cli.up, "_HOST_FILE_LIMIT", 0.2)
    said = "a mesh runs from here already"
    monkeypatch.setattr(sys, "executable", str(script(home.folder / "python", f"echo {said}")))


def test_a_second_up_waits_for_the_mesh_of_the_first(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write()
    late(home, monkeypatch)
    with home.host() as host:
        ill = replace(WEB, healthy=False, state="starting")
        host.status = replace(STATUS, services=(ServiceStatus(name="web", instances=(ill,)),))
        done = home.legation("up", "-d", "--wait", "0.5")
        assert (done.exit_code, "web-v1-0 is starting" in done.stderr) == (5, True), done.stderr
        host.status = STATUS
        done = home.legation("up", "-d", "--wait", "5")
        assert (done.exit_code, "shop is up: " in done.stderr) == (0, True), done.stderr


def test_a_second_up_is_not_content_with_another_mesh(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(GOOD.replace("mesh: shop", "mesh: other"))
    late(home, monkeypatch)
    with home.host():
        done = home.legation("up", "-d", "--wait", "5", "--state", str(home.state().root))
    assert (done.exit_code, "a mesh runs from here already" in done.stderr) == (3, True), done.stderr


def test_a_start_behind_that_is_ended_is_no_success(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write()
    late(home, monkeypatch)
    for _ in range(2):
        done = home.legation("up", "-d", "--wait", "5")
        assert (done.exit_code, done.stderr.count("runs from here already")) == (4, 1), done.stderr


def test_files_are_rendered_for_the_mesh_that_runs(home: Home) -> None:
    with home.host():
        for what in ("prometheus", "grafana"):
            assert home.legation("render", what, "out").exit_code == 0
    assert f"http://{names.loopback_address(3, 255)}:" in (home.folder / "out" / "prometheus.yaml").read_text()


def test_files_are_rendered_for_a_file_with_where_they_would_be_by_default(home: Home) -> None:
    home.write()
    done = home.legation("render", "prometheus", "out", "-f", "mesh.yaml")
    assert done.exit_code == 0
    assert "does not run here: discovery_url in prometheus.yaml is where it would by default" in done.stderr


def test_nothing_is_rendered_for_a_mesh_that_does_not_answer(home: Home) -> None:
    done = home.legation("render", "grafana", "out", "--state", str(home.folder / "other"))
    assert done.exit_code == 4
    assert "no mesh runs from" in done.stderr


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
@pytest.mark.parametrize(("text", "code"), [(GOOD, 0), (BAD, 3)])
def test_validate_in_every_format_has_the_same_exit_code(home: Home, form: str, text: str, code: int) -> None:
    home.write(text)
    done = home.legation("validate", "-o", form)
    assert done.exit_code == code
    if form == "table":
        assert "good: mesh shop, 1 services, 0 calls" in done.stderr if code == 0 else "80800 is above" in done.stdout
    else:
        said = json.loads(done.stdout) if form == "json" else YAML(typ="safe").load(done.stdout)
        assert len(said["violations"]) == (2 if code else 0)


@pytest.mark.parametrize(("make", "reason"), [(None, "No such file"), (b"\xff", "it is no UTF-8 text")])
def test_a_file_that_cannot_be_read_is_a_usage_error(home: Home, make: bytes | None, reason: str) -> None:
    if make is not None:
        (home.folder / "mesh.yaml").write_bytes(make)
    done = home.legation("validate")
    assert done.exit_code == 2
    assert reason in done.stderr
    assert "name a mesh file with -f FILE" in done.stderr


def test_a_reader_that_goes_away_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise BrokenPipeError

    read, write = os.pipe()
    monkeypatch.setattr(command, "app", gone)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert ended.value.code == 0
    os.close(read)


def test_no_color_and_no_terminal_are_plain(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with home.host() as host:
        host.status = replace(host.status, telemetry=replace(UP, restarts=1))
        done = home.legation("status")
    assert "\x1b" not in done.stdout
    assert "telemetry (restarted 1x)" in done.stdout


def test_without_words_the_help_is_shown(home: Home) -> None:
    assert "Usage" in home.legation().output


def test_limits_are_rendered_and_a_mesh_without_any_is_told(home: Home) -> None:
    home.write()
    done = home.legation("render", "ratelimit", "out", "-f", "mesh.yaml")
    assert done.exit_code == 0, done.output
    assert "no service has rate_limit.global" in done.stderr
    assert (home.folder / "out" / "config" / "limits.yaml").exists()


def test_rules_are_rendered_and_stale_ones_removed(home: Home) -> None:
    home.write()
    words = ("render", "prometheus", "out", "-f", "mesh.yaml")
    assert home.legation(*words).exit_code == 0
    rules = home.folder / "out" / "rules"
    (rules / "shop.old.rules.yaml").write_text((rules / "shop.proxies.rules.yaml").read_text())
    assert "removed out/rules/shop.old.rules.yaml" in home.legation(*words).stderr
