"""The images' files: what a lock file gives them, and what no Dockerfile of ours does."""

import importlib.util
import re
from pathlib import Path

import pytest

COMPOSE = Path(__file__).parents[2] / "compose"
LOCK = """\
grpcio==1.0 \\
    --hash=sha256:aa
    # via
    #   legation (pyproject.toml)
    #   xds-protos
hvac==2.0 \\
    --hash=sha256:bb
    # via legation (pyproject.toml)
requests==3.0 \\
    --hash=sha256:cc
    # via hvac
urllib3==4.0 \\
    --hash=sha256:dd
    # via requests
"""


def pick(text: str, *names: str) -> str:
    spec = importlib.util.spec_from_file_location("pick", COMPOSE / "pick.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.pick(text, names))


def test_an_image_gets_what_it_names_and_what_that_needs() -> None:
    assert re.findall(r"^[a-z0-9]+", pick(LOCK, "hvac"), re.MULTILINE) == ["hvac", "requests", "urllib3"]
    assert "--hash=sha256:cc" in pick(LOCK, "hvac")
    with pytest.raises(KeyError, match="nothing"):
        pick(LOCK, "nothing")


def test_what_the_dockerfile_names_is_locked() -> None:
    lock = (COMPOSE.parent / "requirements" / "runtime.txt").read_text()
    text = (COMPOSE / "Dockerfile").read_text().replace("\\\n", " ")
    for line in re.findall(r"^RUN /build/install ([^&\n]+)", text, re.MULTILINE):
        assert pick(lock, *line.split())


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.shop"])
def test_no_image_runs_as_root_and_no_build_pulls_a_frontend(name: str) -> None:
    text = (COMPOSE / name).read_text()
    assert "syntax=" not in text
    stages = [
        stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:] if "ENTRYPOINT" in stage or "CMD" in stage
    ]
    assert stages
    assert all("USER 10001:10001" in stage for stage in stages)
