"""The command's words, exit codes and formats, where no mesh runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import BAD, GOOD
from tests.support import command


def legation(*words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command as somebody with an empty home."""
    env = {"HOME": str(home), "XDG_STATE_HOME": "", "COLUMNS": "100"}
    return command.legation(*words, folder=home, env=env)


def test_a_good_file_is_said_to_be_good(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    done = legation("validate", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "mesh.yaml: good: mesh shop, 1 services, 0 calls\n"


def test_all_faults_are_said_at_once_and_end_with_3(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(BAD)
    done = legation("validate", home=tmp_path)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["mesh.yaml:4:19", "mesh.yaml:4:30"]
    assert lines[1].endswith("services.web.port: 80800 is above the maximum 65535")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("validate", "-f", "none.yaml"), 2, "cannot read none.yaml: No such file or directory"),
        (("up", "-f", "none.yaml"), 2, "name a mesh file with -f FILE"),
        (("status",), 4, "no mesh runs here: start one with legation up -f mesh.yaml"),
        (("down",), 0, "no mesh runs here"),
        (("down", "--wait", "nan"), 2, "'nan': seconds, a number from 0 on"),
        (("up", "--wait", "soon"), 2, "'soon': seconds, a number from 0 on"),
        (("run", "--service", "web", "--", "true"), 4, "no mesh runs here"),
        (("run", "--service", "../web"), 2, "lower-case letters, digits and dashes"),
        (("nonsense",), 2, "No such command"),
        (("validate", "-o", "xml"), 2, "xml"),
    ],
)
def test_exit_codes(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = legation(*words, home=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("validate >&- 2>&-", 0, ""),
        ("validate -o json >/dev/full", 1, "what was asked for cannot be written: No space left on device\n"),
        ("validate -o json | true", 0, ""),
        ("validate -f bad.yaml >&- 2>&- <&-", 3, ""),
        ("render grafana /dev/null/out -f mesh.yaml", 1, "/dev/null/out"),
        ("up --state /dev/null/state", 3, "choose another folder with --state DIR\n"),
        ("up -d --state /dev/null/state", 3, "choose another folder with --state DIR\n"),
        ("validate -f endless.yaml", 3, ""),
        ("validate -f /dev/zero", 3, ""),
    ],
)
def test_no_place_to_write_to_and_no_end_to_read_is_a_traceback(
    tmp_path: Path, words: str, code: int, said: str
) -> None:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    with (tmp_path / "endless.yaml").open("w") as file:
        file.truncate(8 << 30)
    line = f"{sys.executable} -m legation.cli.main {words}"
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, cwd=tmp_path, env=env, check=False, timeout=110
    )
    assert "Traceback" not in done.stderr
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_mesh_file_is_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(f"# für alle\n{GOOD}", encoding="utf-8")
    argv = [sys.executable, "-m", "legation.cli.main", "validate"]
    env = {"HOME": str(tmp_path), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=env, check=False, timeout=110)
    assert done.returncode == 0, done.stderr


def test_the_cost_of_a_mesh_is_said_before_it_is_applied(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    done = command.legation("telemetry", "cost", "-f", "mesh.yaml", "-o", "json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["total"] == sum(service["total"] for service in said["services"])
    assert "all" in command.legation("telemetry", "cost", "-f", "mesh.yaml", folder=tmp_path).stdout


def test_what_is_rendered_is_checked_where_one_asks(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on the PATH: apt-get install prometheus")
    (tmp_path / "mesh.yaml").write_text(GOOD)
    words = ("render", "prometheus", "out", "-f", "mesh.yaml", "--check")
    done = command.legation(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "promtool has found no fault in 8 files of rules" in done.stderr


def test_a_tool_that_is_missing_or_finds_something_is_said(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    words = ("render", "prometheus", "out", "-f", "mesh.yaml", "--check")
    done = command.legation(*words, folder=tmp_path, env={"PATH": str(tmp_path)})
    assert (done.returncode, "install prometheus, or leave --check out" in done.stderr) == (2, True), done.stderr
    (tmp_path / "promtool").write_text("#!/bin/sh\necho no good; exit 1\n")
    (tmp_path / "promtool").chmod(0o755)
    done = command.legation(*words, folder=tmp_path, env={"PATH": str(tmp_path)})
    assert (done.returncode, "promtool check rules: no good" in done.stderr) == (3, True), done.stderr


def test_limits_are_rendered_for_the_service_that_counts_them(tmp_path: Path) -> None:
    limited = (
        "    rate_limit: {global: {service: pay, limits: [{requests_per_unit: 5, unit: hour, by_header: x-user}]}}\n"
    )
    shop = "mesh: shop\ntrust_domain: shop.local\nservices:\n  pay: {protocol: grpc, port: 9}\n"
    (tmp_path / "mesh.yaml").write_text(f"{shop}  web:\n    protocol: http\n    port: 8\n    calls: [pay]\n{limited}")
    done = legation("render", "ratelimit", "out", "-f", "mesh.yaml", home=tmp_path)
    assert (done.returncode, f"RUNTIME_ROOT={tmp_path / 'out'}" in done.stderr) == (0, True), done.stderr
    (limits,) = (tmp_path / "out" / "config").iterdir()
    assert limits.read_text().splitlines()[1:] == [
        "domain: shop",
        "descriptors:",
        "  - key: limit",
        "    value: web.0",
        "    descriptors:",
        "      - key: x-user",
        "        rate_limit:",
        "          unit: hour",
        "          requests_per_unit: 5",
    ]
    (tmp_path / "mesh.yaml").write_text(GOOD)
    done = legation("render", "ratelimit", "out", "-f", "mesh.yaml", home=tmp_path)
    assert (done.returncode, "nothing is counted" in done.stderr) == (0, True), done.stderr


def test_rules_and_dashboards_are_rendered_without_a_mesh_that_runs(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    for what in ("prometheus", "grafana"):
        done = legation("render", what, "out", "-f", "mesh.yaml", home=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "rules" / "shop.proxies.rules.yaml").exists()
    assert (tmp_path / "out" / "prometheus.yaml").exists()
    boards = {f.name for f in (tmp_path / "out" / "dashboards").iterdir()}
    assert {"shop-mesh.json", "shop-service.json", "shop-proxy.json"} <= boards


def test_rules_of_an_earlier_rendering_are_removed_and_others_are_left(tmp_path: Path) -> None:
    """Prometheus loads every file of the folder: what the mesh has no more would go on to alert."""
    (tmp_path / "mesh.yaml").write_text(GOOD)
    rules = tmp_path / "out" / "rules"
    assert legation("render", "prometheus", "out", "-f", "mesh.yaml", home=tmp_path).returncode == 0
    ours = (rules / "shop.proxies.rules.yaml").read_text()
    for name, text in {"shop.old": ours, "shop.mine": "groups: []\n", "other.old": ours}.items():
        (rules / f"{name}.rules.yaml").write_text(text)
    again = legation("render", "prometheus", "out", "-f", "mesh.yaml", home=tmp_path)
    assert "removed out/rules/shop.old.rules.yaml" in again.stderr
    left = {f.name for f in rules.iterdir()}
    assert {"shop.mine.rules.yaml", "other.old.rules.yaml", "shop.proxies.rules.yaml"} <= left
    assert "shop.old.rules.yaml" not in left
