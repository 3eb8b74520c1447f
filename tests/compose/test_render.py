"""`legation render compose` on files in the style that people publish; docker compose reads the results where it is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from legation.compose.override import render
from legation.compose.project import STARTED, BadCompose, Published, filled, project
from legation.compose.text import read
from legation.mesh.load import load
from tests.support.command import legation

ROOT = Path(__file__).parents[2]
ADOPT = Path(__file__).parent / "adopt"
PUBLISHED = ["docker-compose.yml", "docker-compose.prod.yml"]
CASES = {
    "stack-1-permissive": ("stack", ["docker-compose.yml"], "mesh-1-permissive.yaml"),
    "stack-2-more": ("stack", ["docker-compose.yml"], "mesh-2-more.yaml"),
    "stack-3-strict": ("stack", ["docker-compose.yml"], "mesh-3-strict.yaml"),
    "migration-1-permissive": ("migration", ["compose.yaml"], "mesh-1-permissive.yaml"),
    "migration-2-more": ("migration", ["compose.yaml"], "mesh-2-more.yaml"),
    "migration-3-strict": ("migration", ["compose.yaml"], "mesh-3-strict.yaml"),
    "published-1-permissive": (
        "published",
        ["docker-compose.yml", "docker-compose.prod.yml"],
        "mesh-1-permissive.yaml",
    ),
    "published": ("published", ["docker-compose.yml", "docker-compose.prod.yml"], "mesh.yaml"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_override_is_as_recorded_and_compose_reads_it(case: str, tmp_path: Path, golden) -> None:
    folder, files, mesh = CASES[case]
    shutil.copytree(ADOPT / folder, tmp_path, dirs_exist_ok=True)
    done = legation("render", "compose", *files, "-f", mesh, folder=tmp_path)
    written = tmp_path / "docker-compose.legation.yaml"
    said = done.stderr.replace(f"{tmp_path}/", "")
    assert done.returncode == (3 if "could not: " in said else 0), said
    golden(f"compose-override/{case}", {"override.yaml": written.read_text(), "notes.txt": said})
    _compose_reads(tmp_path, [*files, written.name])


@pytest.mark.parametrize("case", [*CASES, "shop"])
def test_a_sidecar_finds_its_app_by_a_name_that_only_the_app_has(case: str) -> None:
    """Docker looks a name up in one network of a container's after the other: one of its own may come first."""
    file = ROOT / "compose/docker-compose.override.yaml"
    if case != "shop":
        file = ROOT / f"tests/golden/compose-override/{case}/override.yaml"
    services = read(file.read_text(), "override")["services"]
    found = 0
    for name, sidecar in services.items():
        command = sidecar.get("command") or []
        if "--app" in command:
            app = command[command.index("--app") + 1].partition(":")[0]
            aliases = [
                alias for network in sidecar["networks"].values() for alias in (network or {}).get("aliases", ())
            ]
            assert app not in aliases
            service = name.removesuffix("-sidecar")
            assert app in services[service]["networks"][f"{service}-private"]["aliases"]
            found += 1
    assert found


def test_the_shop_has_the_override_that_its_mesh_comes_to(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "compose", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("wheels"))
    own = "docker-compose.override.yaml"
    before = (tmp_path / own).read_text()
    done = legation(
        "render", "compose", "docker-compose.yaml", "-f", "mesh.yaml", "--full", "--to", own, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / own).read_text() == before
    _compose_reads(tmp_path, ["docker-compose.yaml", own])


def _compose_reads(folder: Path, files: list[str]) -> None:
    """Where docker compose is at hand, as it is where `make test-compose` runs."""
    compose = ("docker", "compose", *(word for file in files for word in ("-f", file)), "config")
    there = shutil.which("docker") is not None
    if there and _run("docker", "compose", "version").returncode == 0:
        done = _run(*compose, cwd=folder, env={**os.environ, "WEB_PORT": "81"})
        assert done.returncode == 0, done.stderr


def _run(*command: str, **how) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, **how)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {a: [", "docker-compose.yml:1:"),
        ("services: [a]", "docker-compose.yml: services is a mapping of names"),
        ("services: {api: {ports: 80}}", "docker-compose.yml: services.api.ports is a list"),
        ("services: {web: {image: x}}", "no service of mesh.yaml is in these files: nothing is written"),
    ],
)
def test_what_is_no_compose_file_is_said_and_nothing_is_written(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(text)
    (tmp_path / "mesh.yaml").write_text((ADOPT / "stack" / "mesh-1-permissive.yaml").read_text())
    done = legation("render", "compose", "docker-compose.yml", folder=tmp_path)
    assert done.returncode == 3, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "docker-compose.legation.yaml").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}:80", "1:80"),
        ("$A", "1"),
        ("$$A", "$A"),
        ("${B:-2}", "2"),
        ("${E:-2}", "2"),
        ("${E-2}", ""),
        ("${B-2}", "2"),
        ("${A:+3}${B:+3}", "3"),
        ("${B:?needed}", ""),
        ("${B}", ""),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, value: str) -> None:
    assert filled(text, {"A": "1", "E": ""}) == value


@pytest.mark.parametrize(
    ("port", "published"),
    [
        ("80", Published("", 80)),
        (80, Published("", 80)),
        ("8080:80", Published("8080", 80)),
        ("127.0.0.1:8080:80", Published("127.0.0.1:8080", 80)),
        ("[::1]:8080:80", Published("[::1]:8080", 80)),
        ("53:53/udp", Published("53", 53, "udp")),
        ("${P:-8080}:80", Published("${P:-8080}", 80)),
        ("8080:${T:-80}", Published("8080", 80)),
        ({"target": 80, "published": "8080", "host_ip": "::1"}, Published("::1:8080", 80)),
        ({"target": 80}, Published("", 80)),
        ("9000-9010:9000-9010", None),
        ({"target": "x"}, None),
    ],
)
def test_ports_are_read_in_all_their_spellings(port, published) -> None:
    found = project([("f", {"services": {"a": {"ports": [port]}}})], {}).services["a"]
    assert (found.ports, found.odd_ports) == (((published,), ()) if published else ((), (str(port),)))


def test_tags_of_compose_are_read_as_what_they_hold() -> None:
    text = "services: {a: {ports: !override ['80:80'], networks: !reset {x: {}}, command: !reset no}}"
    assert read(text, "f") == {"services": {"a": {"ports": ["80:80"], "networks": {}, "command": "no"}}}


def test_what_a_later_file_puts_in_the_place_of_the_first_ones_is_alone() -> None:
    first = "services: {a: {ports: ['1:1'], links: [b], networks: [n], labels: [x=1], depends_on: [b]}}"
    second = (
        "services: {a: {ports: !override ['2:2'], links: !reset [], networks: !override {m: {}}, labels: !reset {}}}"
    )
    found = project([("1", read(first, "1")), ("2", read(second, "2"))], {}).services["a"]
    assert (found.ports, found.links, list(found.networks), found.labels) == ((Published("2", 2),), (), ["m"], {})
    assert list(found.depends_on) == ["b"]


def test_a_second_file_goes_over_the_first() -> None:
    first = {"services": {"a": {"depends_on": ["b"], "labels": ["x=1"], "network_mode": "host"}, "b": None}}
    second = {"services": {"a": {"depends_on": {"c": {}}, "labels": {"x": 2}, "networks": {"n": {"aliases": ["z"]}}}}}
    found = project([("1", first), ("2", second)], {}).services
    assert (found["a"].depends_on, found["a"].labels, found["a"].joined) == (
        {"b": STARTED, "c": STARTED},
        {"x": "2"},
        {"n": ("z",)},
    )
    assert list(found["b"].joined) == ["default"]
    with pytest.raises(BadCompose, match="2: services is a mapping"):
        project([("1", first), ("2", None)], {})


def test_what_a_job_needs_that_runs_before_a_service_that_service_is_taken_to_need() -> None:
    text = """
services:
  app: {depends_on: {setup: {condition: service_completed_successfully}, cache: {condition: service_started}}}
  setup: {depends_on: {load: {condition: service_completed_successfully}, cache: {}}}
  load: {depends_on: {db: {condition: service_healthy}, setup: {condition: service_completed_successfully}}}
  db: {depends_on: [disk]}
"""
    found = project([("f", read(text, "f"))], {})
    app = found.services["app"]
    assert (found.jobs(app), found.needs(app)) == (("setup", "load"), ("cache", "db"))


def test_what_is_called_as_external_stays_where_it_is_and_the_sidecar_comes_to_it() -> None:
    text = "mesh: m\ntrust_domain: m.local\nservices: {a: {protocol: http, port: 80, calls: [d]}}\n"
    mesh = load(f"{text}external: {{d: {{host: db, port: 5432, protocol: tcp, tls: false}}}}", "mesh.yaml").mesh
    files = project(
        [("f", {"services": {"a": {"depends_on": ["db"], "networks": ["n"]}, "db": {"networks": ["n"]}}})], {}
    )
    made = render(files, mesh, "./mesh.yaml")
    assert "db" not in made.override["services"]
    assert "n" in made.override["services"]["a-sidecar"]["networks"]
    assert made.notes.open == []


def test_a_name_that_is_taken_is_said() -> None:
    mesh = load("mesh: m\ntrust_domain: m.local\nservices: {a: {protocol: http, port: 80}}", "mesh.yaml").mesh
    notes = render(project([("f", {"services": {"a": None, "a-sidecar": None}})], {}), mesh, "./mesh.yaml").notes
    assert notes.could_not[0] == "a stays as it is: there is a service a-sidecar already: rename it"


def test_the_full_profile_says_what_mesh_yaml_lacks_for_it_and_goes_where_that_sends_spans() -> None:
    text = "mesh: m\ntrust_domain: m.local\nservices: {a: {protocol: http, port: 80}}\n"
    given = project([("f", {"services": {"a": {"profiles": ["extra"]}}})], {})
    bare = render(given, load(text, "mesh.yaml").mesh, "./mesh.yaml", full=True)
    assert bare.notes.open == [
        "nothing is traced: add tracing: {otlp: {host: legation-jaeger}} to mesh.yaml",
        "Loki gets no logs: add logging: {otlp: {url: http://legation-loki:3100/otlp/v1/logs}} to mesh.yaml",
    ]
    assert bare.override["services"]["a-sidecar"]["profiles"] == ["extra"], "a sidecar comes with its app"
    assert bare.override["networks"]["legation-observe"] == {"internal": True}
    own = render(
        given, load(f"{text}tracing: {{otlp: {{host: jaeger.our.example}}}}", "m").mesh, "./mesh.yaml", full=True
    )
    assert own.override["networks"]["legation-observe"] == {}, "spans leave for the team's own receiver"
    core = render(given, load(text, "mesh.yaml").mesh, "./mesh.yaml").override
    assert not any("profiles" in s for name, s in core["services"].items() if name != "a-sidecar")
