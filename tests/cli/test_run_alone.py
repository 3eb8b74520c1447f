"""`run` in an image: the same words, read with less."""

import subprocess
import sys

import pytest
import typer
from ruamel.yaml import YAML

from legation.cli.main import app
from legation.cli.run_alone import main, words
from tests.compose.live.project import ROOT

OVERRIDE = YAML(typ="safe").load(
    (ROOT / "compose" / "docker-compose.override.yaml").read_text().replace("!override", "").replace("!reset", "")
)
SIDECARS = {
    name: said["command"] for name, said in OVERRIDE["services"].items() if said.get("command", [""])[0] == "run"
}
UNNEEDED = ("cryptography", "_cffi_backend", "pydantic", "pydantic_core", "rich", "pygments", "markdown_it", "ruamel")
"""What no sidecar's image has."""

_IMPORT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import legation.cli.run_alone, legation.cli.run, legation.sidecar.__main__, legation.sidecar.run
import legation.runtime.control.contexts, legation.runtime.identity
legation.cli.run_alone.parser()
"""


def by_typer(given: list[str]) -> dict[str, object]:
    command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    return dict(command.make_context("run", list(given)).params)


@pytest.mark.parametrize("service", SIDECARS)
def test_the_words_of_a_container_mean_what_they_mean_to_the_command(service: str) -> None:
    given = SIDECARS[service][1:]
    expected = by_typer(given)
    assert {k: v or None for k, v in words(given).items()} == {k: v or None for k, v in expected.items()}


def test_lists_numbers_and_a_command_too() -> None:
    given = ["--service", "web", "--concurrency", "2", "--plain", "a", "--plain", "b", "--", "node", "--version"]
    assert {k: v or None for k, v in words(given).items()} == {k: v or None for k, v in by_typer(given).items()}


def test_what_it_cannot_do_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 2
    assert main(["run", "--service", "No Name"]) == 2
    assert "--service 'No Name'" in capsys.readouterr().err


def test_a_sidecar_needs_nothing_that_its_image_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, *UNNEEDED], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
