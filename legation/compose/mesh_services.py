"""Our own containers in an override: one certmgr, one xds_server, a Vault, and what sets them up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from legation.mesh import names

Definition = dict[str, Any]

USER = 10001
"""Whom our images run as: sockets between containers are that user's alone."""

MESH_NETWORK = f"{names.COMPONENT_PREFIX}mesh"
EDGE_NETWORK = f"{names.COMPONENT_PREFIX}edge"
OBSERVE_NETWORK = f"{names.COMPONENT_PREFIX}observe"
"""Where sidecars are measured, and send their spans."""
CERTMGR_METRICS_NETWORK = f"{names.COMPONENT_PREFIX}certmgr-metrics"
"""Where Prometheus and Jaeger alone meet certmgr, which has no network else."""
XDS = names.XDS_SERVER
VAULT, INIT, APPLY = (f"{names.COMPONENT_PREFIX}{part}" for part in ("vault", "init", "apply"))

CONTROL_IMAGE = "${LEGATION_IMAGE:-legation}"
SIDECAR_IMAGE = "${LEGATION_SIDECAR_IMAGE:-legation-sidecar}"
_VAULT_IMAGE = "${LEGATION_VAULT_IMAGE:-legation-openbao}"

MESH_FILE = "/etc/legation/mesh.yaml"
_VAULT_SOCKET = "/vault/run/vault.sock"
_CONTROL, _STATE, _SDS = "/control", "/state", "/sds"
READING = "/reading"
"""Where xds_server has the socket of those that may follow the mesh and change nothing of it."""
_CONNECT = f"import socket; socket.create_connection(('127.0.0.1', {names.XDS_PORT}), 2)"
"""Whether Envoys can come: xds_server listens once it has an identity and a mesh."""


@dataclass(frozen=True, slots=True)
class Volumes:
    """The names of our volumes."""

    vault_data = f"{names.COMPONENT_PREFIX}vault-data"
    vault_socket = f"{names.COMPONENT_PREFIX}vault-socket"
    vault_keys = f"{names.COMPONENT_PREFIX}vault-keys"
    credentials = f"{names.COMPONENT_PREFIX}credentials"
    certmgr = names.CERTMGR
    xds_server = names.XDS_SERVER
    control = f"{names.COMPONENT_PREFIX}control"
    reading = f"{names.COMPONENT_PREFIX}reading"
    logs = f"{names.COMPONENT_PREFIX}logs"
    settings = f"{names.COMPONENT_PREFIX}settings"
    telemetry = names.TELEMETRY
    prometheus = f"{names.COMPONENT_PREFIX}prometheus"
    alertmanager = f"{names.COMPONENT_PREFIX}alertmanager"
    grafana = f"{names.COMPONENT_PREFIX}grafana"
    loki = f"{names.COMPONENT_PREFIX}loki"


V = Volumes


def sds_volume(identity: str) -> str:
    """Return the volume with the socket of one identity: whose container has it, has that identity."""
    own = identity.removeprefix(names.COMPONENT_PREFIX)
    return f"{names.COMPONENT_PREFIX}sds-{own}"


def hardened(**more: Any) -> Definition:
    """Return what every container of ours has: no rights, and nothing to write to but what is named."""
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        **more,
    }


def healthy(*argv: str, interval: str = "3s") -> Definition:
    """Return a health check by a command, soon and often, as others wait for it."""
    return {"test": ["CMD", *argv], "interval": interval, "timeout": "5s", "retries": 40}


def after(**conditions: str) -> Definition:
    """Return what is waited for: service=condition, with dashes for underscores in the names."""
    return {name.replace("_", "-"): {"condition": condition} for name, condition in conditions.items()}


def components(mesh_file: str, identities: Iterable[str], *, observed: bool) -> dict[str, Definition]:
    """Return our services. `mesh_file` is on the host; `identities` are those that containers here have.

    `observed`: a Prometheus may come and measure them.
    """
    mesh = f"{mesh_file}:{MESH_FILE}:ro"
    return {
        VAULT: _vault(),
        INIT: _init(mesh),
        names.CERTMGR: _certmgr(identities, observed=observed),
        XDS: _xds_server(observed=observed),
        APPLY: _apply(mesh),
    }


def _vault() -> Definition:
    return hardened(
        image=_VAULT_IMAGE,
        command="${LEGATION_VAULT_COMMAND:-bao server -config=/etc/vault.hcl}",
        network_mode="none",  # its API is on a socket
        volumes=[f"{V.vault_data}:/vault/data", f"{V.vault_socket}:/vault/run"],
        tmpfs=["/tmp"],  # noqa: S108 - a container's own
    )


def _init(mesh: str) -> Definition:
    command = ["-m", "certmgr.first", "--vault-address", f"unix:{_VAULT_SOCKET}", "--mesh", MESH_FILE]
    command += ["--keys", "/keys/vault.json", "--host", "/credentials/host.json"]
    return hardened(
        image=CONTROL_IMAGE,
        command=command,
        network_mode="none",
        restart="on-failure",
        volumes=[mesh, f"{V.vault_socket}:/vault/run", f"{V.vault_keys}:/keys", f"{V.credentials}:/credentials"],
        depends_on=after(legation_vault="service_started"),
    )


def _certmgr(identities: Iterable[str], *, observed: bool) -> Definition:
    command = ["-m", "certmgr", "--state", _STATE, "--xds-control", f"{_CONTROL}/xds_server.sock", "--sds", _SDS]
    command += ["--vault-address", f"unix:{_VAULT_SOCKET}", "--vault-credentials", "/credentials/host.json"]
    measured = ["--metrics-address", f"0.0.0.0:{names.CERTMGR_METRICS_PORT}"]
    network: Definition = {"networks": [CERTMGR_METRICS_NETWORK]} if observed else {"network_mode": "none"}
    sockets = [f"{sds_volume(identity)}:{_SDS}/{identity}" for identity in identities]
    return hardened(
        image=CONTROL_IMAGE,
        command=command + measured if observed else command,
        **network,
        volumes=[
            f"{V.certmgr}:{_STATE}",
            f"{V.control}:{_CONTROL}",
            f"{V.credentials}:/credentials:ro",
            f"{V.vault_socket}:/vault/run",
            *sockets,
        ],
        depends_on=after(legation_init="service_completed_successfully"),
    )


def _xds_server(*, observed: bool) -> Definition:
    command = ["-m", "xds_server", "--listen", f"0.0.0.0:{names.XDS_PORT}"]
    command += ["--control-address", f"0.0.0.0:{names.XDS_CONTROL_PORT}", "--control", f"{_CONTROL}/xds_server.sock"]
    command += ["--sds", f"{_SDS}/sds.sock", "--database", f"{_STATE}/registry.sqlite"]
    command += ["--metrics", f"0.0.0.0:{names.XDS_METRICS_PORT}"]
    volumes = [f"{V.xds_server}:{_STATE}", f"{V.control}:{_CONTROL}", f"{sds_volume(XDS)}:{_SDS}"]
    if observed:
        command += ["--reading", f"{READING}/xds_server.sock"]
        volumes.append(f"{V.reading}:{READING}")
    return hardened(
        image=CONTROL_IMAGE,
        command=command,
        networks=[MESH_NETWORK, OBSERVE_NETWORK] if observed else [MESH_NETWORK],
        volumes=volumes,
        tmpfs=["/tmp"],  # noqa: S108 - where Envoy looks at a changed mesh
        healthcheck=healthy("python3", "-ISc", _CONNECT),
    )


def _apply(mesh: str) -> Definition:
    made = hardened(
        image=CONTROL_IMAGE,
        command=["-m", "xds_server.offer", "--control", f"{_CONTROL}/xds_server.sock", "--mesh", MESH_FILE],
        network_mode="none",
        volumes=[mesh, f"{V.control}:{_CONTROL}"],
        depends_on=after(legation_xds_server="service_started"),
    )
    del made["restart"]
    return made


def volumes(identities: Iterable[str], *, observed: bool) -> dict[str, Any]:
    """Return our volumes: those that keep something, and those that hold sockets and forget them."""
    kept: tuple[str, ...] = (V.vault_data, V.vault_keys, V.credentials, V.certmgr, V.xds_server)
    sockets: tuple[str, ...] = (V.vault_socket, V.control, *(sds_volume(identity) for identity in identities))
    if observed:
        kept += (V.settings, V.telemetry, V.prometheus, V.alertmanager, V.grafana, V.loki)
        sockets += (V.logs, V.reading)
    return {**dict.fromkeys(kept), **{name: _in_memory() for name in sockets}}


def _in_memory() -> Mapping[str, Any]:
    options = f"uid={USER},gid={USER},mode=0700,size=1m"
    return {"driver": "local", "driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": options}}
