"""Each dashboard as a literal of TypeScript, held against Grafana's own types (`@grafana/schema`) by its compiler."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dashboards.render import dashboards
from legation.mesh.load import load
from legation.runtime import binaries
from tests.dashboards.test_render import SHOP, SOLO

SCHEMA = Path(__file__).parent / "schema"
TSC = SCHEMA / "node_modules" / "typescript" / "bin" / "tsc"
TCP = load("mesh: tcp\ntrust_domain: t.local\nservices: {store: {protocol: tcp, port: 80}}\n", "mesh.yaml").mesh
pytestmark = pytest.mark.skipif(not TSC.exists(), reason="no TypeScript here: make sync")


def complaints(folder: Path, boards: dict[str, dict[str, Any]]) -> list[str]:
    """What tsc says of dashboards, all in one run: `name(line,column): error …`."""
    for name, board in boards.items():
        literal = json.dumps(board, indent=1)
        (folder / f"{name}.ts").write_text(
            f'import type {{ Written }} from "{SCHEMA}/written.ts";\nexport default {literal} satisfies Written;\n'
        )
    config = {"extends": f"{SCHEMA}/tsconfig.json", "files": [f"{name}.ts" for name in boards]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [binaries.node(), TSC, "-p", folder, "--pretty", "false"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    found = re.findall(r"^\S.*: error .*", done.stdout, re.MULTILINE)
    assert (done.returncode == 0) == (not found), done.stdout + done.stderr
    return found


def test_every_dashboard_is_what_grafanas_own_types_say(tmp_path: Path) -> None:
    boards = {board["uid"]: board for mesh in (SHOP, SOLO, TCP) for board in dashboards(mesh)}
    assert len(boards) > 20
    assert complaints(tmp_path, boards) == []


def test_a_broken_dashboard_is_found(tmp_path: Path) -> None:
    """One fault each: a wrong word, a wrong type, something that is missing, and something that nobody knows."""
    (board,) = (one for one in dashboards(SHOP) if one["uid"] == "shop-service")
    kinds = {panel["type"]: index for index, panel in enumerate(board["panels"])}
    faults: dict[str, tuple[tuple[str | int, ...], Any]] = {
        "word": (("panels", kinds["stat"], "options", "colorMode"), "colourful"),
        "type": (("panels", kinds["timeseries"], "fieldConfig", "defaults", "custom", "lineWidth"), "thick"),
        "unknown": (("panels", kinds["timeseries"], "fieldConfig", "defaults", "custom", "lineWith"), 1),
        "option": (("panels", kinds["table"], "options", "legend"), {}),
        "missing": (("schemaVersion",), None),
        "old": (("hideControls",), True),
    }
    boards = {name: _with(board, *fault) for name, fault in faults.items()}
    assert {line.partition(".ts(")[0] for line in complaints(tmp_path, boards)} == set(faults)


def _with(board: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    broken = copy.deepcopy(board)
    at: Any = broken
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return broken
