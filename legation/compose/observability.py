"""What the profile `full` adds to an override: telemetry, Prometheus, Alertmanager, Grafana, Jaeger, Loki.

They are on a network of their own with the sidecars, as what they are told is plain text: spans bear paths. Pure.
"""

from collections.abc import Sequence
from typing import Any

from legation.compose.mesh_services import (
    CERTMGR_METRICS_NETWORK,
    CONTROL_IMAGE,
    EDGE_NETWORK,
    MESH_FILE,
    OBSERVE_NETWORK,
    READING,
    Definition,
    V,
    after,
    hardened,
    healthy,
)
from legation.mesh import names

FULL = "full"
RENDER, PROMETHEUS, ALERTMANAGER, GRAFANA, JAEGER, LOKI = (
    f"{names.COMPONENT_PREFIX}{part}" for part in ("render", "prometheus", "alertmanager", "grafana", "jaeger", "loki")
)
LOGS_SOCKET = "/logs/logs.sock"
SYSLOG_PORT = 15514
SETTINGS = "/settings"
"""Where what `legation.cli.render_settings` writes is mounted."""

_RENDERED: dict[str, Any] = after(legation_render="service_completed_successfully")
_LISTENS = f"import socket; socket.create_connection(('127.0.0.1', {names.TELEMETRY_PORT}), 2)"


def services(mesh_file: str) -> dict[str, Definition]:
    """Return the services of the profile. `mesh_file` is on the host."""
    return {
        RENDER: _render(mesh_file),
        names.TELEMETRY: _telemetry(),
        PROMETHEUS: _prometheus(),
        ALERTMANAGER: _alertmanager(),
        GRAFANA: _grafana(),
        JAEGER: _jaeger(),
        LOKI: _loki(),
    }


def components() -> dict[str, str]:
    """Return where Prometheus finds our own services: name to host:port."""
    return {
        "xds_server": f"{names.XDS_SERVER}:{names.XDS_METRICS_PORT}",
        "certmgr": f"{names.CERTMGR}:{names.CERTMGR_METRICS_PORT}",
        "telemetry": f"{names.TELEMETRY}:{names.TELEMETRY_PORT}",
    }


def _render(mesh_file: str) -> Definition:
    made = hardened(
        image=CONTROL_IMAGE,
        profiles=[FULL],
        command=["-m", "legation.cli.render_settings", MESH_FILE, SETTINGS],
        network_mode="none",
        volumes=[f"{mesh_file}:{MESH_FILE}:ro", f"{V.settings}:{SETTINGS}"],
    )
    del made["restart"]
    return made


def _telemetry() -> Definition:
    command = ["-m", "telemetry", "--control", "/state/run/telemetry.sock", "--state", "/state"]
    command += ["--xds-control", f"{READING}/xds_server.sock", "--logs-socket", LOGS_SOCKET]
    command += ["--host", "0.0.0.0"]  # noqa: S104 - a container's
    command += ["--syslog", f"0.0.0.0:{SYSLOG_PORT}"]
    command += ["--components", ",".join(f"{name}={at}" for name, at in components().items())]
    return hardened(
        image=CONTROL_IMAGE,
        profiles=[FULL],
        command=command,
        networks=[OBSERVE_NETWORK, EDGE_NETWORK],
        ports=[f"127.0.0.1:${{LEGATION_TELEMETRY_PORT:-{names.TELEMETRY_PORT}}}:{names.TELEMETRY_PORT}"],
        volumes=[f"{V.telemetry}:/state", f"{V.reading}:{READING}", f"{V.logs}:/logs"],
        depends_on=after(legation_xds_server="service_healthy"),
        healthcheck=healthy("python3", "-ISc", _LISTENS),
    )


def _prometheus() -> Definition:
    command = [f"--config.file={SETTINGS}/prometheus/prometheus.yaml", "--storage.tsdb.path=/prometheus"]
    # of Prometheus 3: it sees for itself that rules were rendered anew; one that does not know it says so and goes on
    command.append("--enable-feature=auto-reload-config")
    return _theirs(
        "prometheus",
        "prom/prometheus:v3.1.0",
        9090,
        command=command,
        networks=[OBSERVE_NETWORK, CERTMGR_METRICS_NETWORK, EDGE_NETWORK],
        volumes=[f"{V.settings}:{SETTINGS}:ro", f"{V.prometheus}:/prometheus"],
        depends_on=_RENDERED,
        healthcheck=healthy("promtool", "query", "instant", "http://127.0.0.1:9090", "1"),
    )


def _alertmanager() -> Definition:
    config = f"${{LEGATION_ALERTMANAGER_CONFIG:-{SETTINGS}/prometheus/alertmanager.yaml}}"
    command = [f"--config.file={config}", "--storage.path=/alertmanager", "--cluster.listen-address="]
    return _theirs(
        "alertmanager",
        "prom/alertmanager:v0.27.0",
        9093,
        command=command,
        volumes=[f"{V.settings}:{SETTINGS}:ro", f"{V.alertmanager}:/alertmanager"],
        depends_on=_RENDERED,
        healthcheck=healthy("amtool", "alert", "query", "--alertmanager.url=http://127.0.0.1:9093"),
    )


def _grafana() -> Definition:
    environment = {
        "GF_PATHS_PROVISIONING": f"{SETTINGS}/grafana/provisioning",
        "DASHBOARDS": f"{SETTINGS}/grafana/dashboards",
        "PROMETHEUS_URL": f"${{LEGATION_PROMETHEUS_URL:-http://{PROMETHEUS}:9090}}",
        "JAEGER_URL": f"${{LEGATION_JAEGER_URL:-http://{JAEGER}:16686}}",
        "LOKI_URL": f"${{LEGATION_LOKI_URL:-http://{LOKI}:3100}}",
        # nobody can log in, as there would have to be a password; everybody on this host may look
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_AUTH_BASIC_ENABLED": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    return _theirs(
        "grafana",
        "grafana/grafana:11.4.0",
        3000,
        environment=environment,
        volumes=[f"{V.settings}:{SETTINGS}:ro", f"{V.grafana}:/var/lib/grafana"],
        depends_on=_RENDERED,
        healthcheck=healthy("wget", "-q", "-O", "-", "http://127.0.0.1:3000/api/health"),
    )


def _jaeger() -> Definition:
    return _theirs(
        "jaeger",
        "jaegertracing/all-in-one:1.62.0",
        16686,
        networks=[OBSERVE_NETWORK, CERTMGR_METRICS_NETWORK, EDGE_NETWORK],
        environment={"COLLECTOR_OTLP_ENABLED": "true", "MEMORY_MAX_TRACES": "20000"},
    )


def _loki() -> Definition:
    return _theirs(
        "loki",
        "grafana/loki:3.7.8",
        3100,
        command=[f"-config.file={SETTINGS}/loki.yaml"],
        volumes=[f"{V.settings}:{SETTINGS}:ro", f"{V.loki}:/loki"],
        depends_on=_RENDERED,
    )


def _theirs(
    part: str, image: str, port: int, networks: Sequence[str] = (OBSERVE_NETWORK, EDGE_NETWORK), **more: Any
) -> Definition:
    """Return a container of somebody else's program, which a team may have one of: its image, port and profile vary.

    Its port is published on loopback, as it asks nobody who they are.
    """
    variable = f"LEGATION_{part.upper()}"
    return hardened(
        image=f"${{{variable}_IMAGE:-{image}}}",
        profiles=[f"${{{variable}_PROFILE:-{FULL}}}"],
        networks=list(networks),
        ports=[f"127.0.0.1:${{{variable}_PORT:-{port}}}:{port}"],
        tmpfs=["/tmp"],  # noqa: S108 - a container's own
        **more,
    )
