"""What the programs around a mesh in docker compose are given to read: each by its own schema, where it has one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from legation.cli.render_settings import main
from legation.compose.text import read

ROOT = Path(__file__).parents[2]


def rendered(folder: Path) -> Path:
    main(ROOT / "compose/mesh.yaml", folder)
    return folder


def test_each_program_finds_its_own_and_what_is_no_more_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / "prometheus/rules/shop.gone.rules.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_text("# Written by legation from mesh.yaml; a change here is lost with the next rendering.\n")
    folder = rendered(tmp_path)
    assert not stale.exists()
    limits = YAML(typ="safe").load((folder / "ratelimit/config/limits.yaml").read_text())
    assert (limits["domain"], len(limits["descriptors"])) == ("shop", 1)


@pytest.mark.skipif(not shutil.which("amtool"), reason="no amtool on the PATH: apt-get install prometheus-alertmanager")
def test_prometheus_and_alertmanager_take_theirs(tmp_path: Path) -> None:
    folder = rendered(tmp_path) / "prometheus"
    for command in (
        ("promtool", "check", "config", folder / "prometheus.yaml"),
        ("amtool", "check-config", folder / "alertmanager.yaml"),
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_grafana_is_provisioned_with_sources_that_its_boards_and_each_other_name(tmp_path: Path) -> None:
    """https://grafana.com/docs/grafana/latest/administration/provisioning/: apiVersion, and these fields of each."""
    folder = rendered(tmp_path) / "grafana"
    yaml, sources = YAML(typ="safe"), {}
    for file in (folder / "provisioning/datasources").glob("*.yaml"):
        content = yaml.load(file.read_text())
        assert content["apiVersion"] == 1
        for source in content["datasources"]:
            assert {"name", "uid", "type", "access", "url"} <= source.keys()
            assert source["access"] == "proxy"
            sources[source["uid"]] = source
    assert {s["url"] for s in sources.values()} == {"$PROMETHEUS_URL", "$JAEGER_URL", "$LOKI_URL"}
    assert [uid for uid, s in sources.items() if s.get("isDefault")] == ["prometheus"]
    named = re.findall(r'"?datasourceUid"?: "?(\w+)', json.dumps([s.get("jsonData") for s in sources.values()]))
    assert set(named) == {"jaeger", "loki"}
    (provider,) = yaml.load((folder / "provisioning/dashboards/shop.yaml").read_text())["providers"]
    assert (provider["type"], provider["options"]) == ("file", {"path": "$DASHBOARDS"})
    override = read((ROOT / "compose/docker-compose.override.yaml").read_text(), "override")
    given = override["services"]["legation-grafana"]["environment"]
    assert {"DASHBOARDS", "PROMETHEUS_URL", "JAEGER_URL", "LOKI_URL", "GF_PATHS_PROVISIONING"} <= given.keys()
    assert len(list((folder / "dashboards").glob("*.json"))) == 9


def test_a_certmgr_with_a_vault_of_yours_differs_by_that_alone() -> None:
    """Its command is whole in that file, as docker compose changes no part of one."""
    ours, theirs = (
        read((ROOT / f"compose/docker-compose.{which}.yaml").read_text(), which)["services"]["legation-certmgr"]
        for which in ("override", "own-vault")
    )

    def without_vault(command: list[str]) -> list[tuple[str, str]]:
        pairs = list(zip(command[2::2], command[3::2], strict=True))
        return sorted(pair for pair in pairs if not pair[0].startswith("--vault"))

    assert without_vault(theirs["command"]) == without_vault(ours["command"])
