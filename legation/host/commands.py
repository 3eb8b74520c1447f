"""How each of our own processes is started on a host: argument lists, nothing secret among them."""

import sys
from pathlib import Path

from certmgr import openbao
from legation.host.desired import InstanceSpec
from legation.host.layout import HostFile
from legation.mesh import names
from legation.runtime import binaries
from legation.runtime.state import StateFolder


def openbao_command(state: StateFolder, host: HostFile) -> list[str]:
    """Write OpenBao's settings where they are missing; return how to start it."""
    return openbao.prepare(state.openbao, state.bao_socket, f"{host.address}:{names.OPENBAO_CLUSTER_PORT}")


def xds_server_command(state: StateFolder, host: HostFile) -> list[str]:
    """Return how to start xds_server."""
    return [
        *_module("xds_server"),
        *("--listen", host.xds),
        *("--control", str(state.control("xds_server"))),
        *("--sds", str(state.sds(names.XDS_SERVER))),
        *("--database", str(state.database)),
        *("--metrics", host.xds_metrics),
    ]


def certmgr_command(state: StateFolder, host: HostFile) -> list[str]:
    """Return how to start certmgr."""
    return [*_module("certmgr"), "--state", str(state.root), "--metrics-address", host.certmgr_metrics]


def telemetry_command(state: StateFolder, host: HostFile) -> list[str]:
    """Return how to start telemetry."""
    return [
        *_module("telemetry"),
        *("--control", str(state.control("telemetry"))),
        *("--xds-control", str(state.control("xds_server"))),
        *("--host", host.address),
        *("--components", f"xds_server={host.xds_metrics},certmgr={host.certmgr_metrics}"),
    ]


def run_command(state: StateFolder, host: HostFile, desired: InstanceSpec, slot: int, folder: Path) -> list[str]:
    """Return how to start one instance: `legation run`."""
    app = ["--", *binaries.with_node(desired.command)] if desired.command else []
    ports = [f"--listen={service}={port}" for service, port in host.gateway_ports.items()]
    return [
        *_module("legation.cli.main"),
        "run",
        *("--service", desired.service),
        *("--version", desired.version),
        *("--instance", desired.id),
        *("--address", names.loopback_address(host.block, slot)),
        *("--state", str(state.root)),
        *("--folder", str(folder)),
        *(ports if desired.service == names.GATEWAY else []),
        *app,
    ]


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
