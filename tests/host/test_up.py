"""`python -m legation.host FILE`: a process that runs a mesh, from what the command has read to its end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from legation.host.__main__ import UpSettings
from legation.host.layout import HostFile
from legation.mesh.load import load
from legation.mesh.summarize import summarize
from legation.runtime.state import StateFolder
from tests.host.conftest import ALONE
from tests.support.mesh import wait_for
from tests.support.programs import ROOT, fake_python

STAND_IN = "import sys; from legation.host.__main__ import main; sys.executable = sys.argv.pop(1); sys.exit(main())"
"""Starts our own programs with a fake interpreter."""


@contextmanager
def up(folder: Path, text: str = ALONE, **more: int) -> Iterator["subprocess.Popen[str]"]:
    file, state = folder / "mesh.yaml", folder / "state"
    file.write_text(text)
    state.mkdir(exist_ok=True, mode=0o700)
    settings = UpSettings(str(file), str(state), text, summarize(load(text, str(file))), **more)
    (state / "up.json").write_bytes(msgspec.json.encode(settings))
    argv = [sys.executable, "-c", STAND_IN, str(fake_python(folder / "python")), str(state / "up.json")]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> str:
    _, text = process.communicate(timeout=30)
    return str(text)


def answers(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(StateFolder(folder / "state").control("host"))) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "state" / "logs" / "host.log"
    with up(tmp_path) as process:
        wait_for("it answers", lambda: answers(tmp_path))
        wait_for("it starts instances", log.read_text)
        host = HostFile.read(tmp_path / "state" / "host.json")
        assert host is not None
        assert (host.mesh, host.pid) == ("shop", process.pid)
        log = tmp_path / "state" / "logs" / "host.log"
        wait_for("it logs", lambda: log.read_text() or None)
        process.send_signal(number)
        text = said(process)
    assert process.returncode == 0
    assert text.startswith("starting shop: ")
    assert text.endswith("shop is down\n")
    assert not answers(tmp_path)
    assert not (tmp_path / "state" / "host.json").exists()
    assert {json.loads(line)["service"] for line in log.read_text().splitlines()} == {"host"}


def test_a_second_one_says_that_the_first_runs(tmp_path: Path) -> None:
    with up(tmp_path):
        wait_for("it answers", lambda: answers(tmp_path))
        with up(tmp_path) as second:
            assert f"a mesh runs from {tmp_path / 'state'} already" in said(second)
        assert second.returncode == 0


def test_what_is_in_the_way_is_said_and_ends_with_3(tmp_path: Path) -> None:
    with up(tmp_path, gateway_port=8080) as process:
        assert said(process) == "--gateway-port is for a mesh that exposes one service; this one exposes 0\n"
    assert process.returncode == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else's")
def test_a_folder_of_another_user_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "state" / "logs").mkdir(parents=True)
    os.chown(tmp_path / "state" / "logs", 12345, 12345)
    with up(tmp_path) as process:
        assert "belongs to another user" in said(process)
    assert process.returncode == 3
