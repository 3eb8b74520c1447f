"""How each of our own processes is started on a host: argument lists, nothing secret among them."""

import sys
from pathlib import Path

from legation.host.layout import HostFile
from legation.mesh import names
from legation.mesh.desired import WorkloadSpec
from legation.mesh.instance import InstanceSpec
from legation.runtime import binaries
from legation.runtime.state import StateFolder
from legation.sidecar.settings import RunSettings


def openbao_command(state: StateFolder, host: HostFile, number: int) -> list[str]:
    """Return how to start an OpenBao, which writes its settings where they are missing."""
    # one follows the other, so two run at most
    address = f"{host.address}:{names.OPENBAO_CLUSTER_PORTS[number % 2]}"
    return [*_module("certmgr.openbao"), str(state.openbao(number)), str(state.bao_socket(number)), address]


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
        *("--state", str(state.root)),
        *("--components", f"xds_server={host.xds_metrics},certmgr={host.certmgr_metrics}"),
        *("--host-control", str(state.control("host"))),
    ]


def run_command(
    state: StateFolder, host: HostFile, spec: WorkloadSpec, instance: str, slot: int, folder: Path
) -> list[str]:
    """Write an instance's settings; return how to start it."""
    address = names.loopback_address(host.block, slot)
    ports = dict(spec.ports)
    settings = RunSettings(
        spec=InstanceSpec(instance, spec.service, spec.version, "", address, outbound_ports=ports),
        addresses=(address,),
        xds_host=host.address,
        xds_port=names.XDS_PORT,
        root=state.root,
        envoy=binaries.envoy(),
        command=binaries.with_node(spec.command),
        folder=folder,
        supervised=True,
    )
    return [*_module("legation.sidecar"), str(settings.save())]


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
