"""No key, token or secret of a running mesh is where people and programs look."""

import base64
import json
import re
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from tests.support.mesh import PLAIN, Mesh, processes_below


def secrets(mesh: Mesh) -> dict[str, str]:
    """Every secret of a mesh by where it is kept: keys (their base64 lines), AppRole secrets, OpenBao's seal."""
    found = {}
    for file in [*(mesh.state / "certmgr" / "identities").glob("*.pem"), mesh.state / "openbao" / "door.key"]:
        block = re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)\n-----END", file.read_text(), re.DOTALL)
        assert block is not None, file
        found[str(file)] = block[1].splitlines()[1]
    for file in [*(mesh.state / "certmgr" / "approle").glob("*.json"), mesh.state / "certmgr" / "enrol.json"]:
        found[str(file)] = json.loads(file.read_text())["secret_id"]
    seal = (mesh.state / "openbao" / "seal.key").read_bytes()
    found["seal.key"] = seal.strip().decode() if seal.isascii() else base64.b64encode(seal).decode()
    return found


def test_attack_36_no_secret_of_a_mesh_is_in_a_log_an_argument_an_environment_or_a_metric(shop: Mesh) -> None:
    shop.get("/")
    hidden = secrets(shop)
    assert len(hidden) >= 14
    assert all(len(value) >= 20 for value in hidden.values())
    for where, text in visible(shop).items():
        assert "PRIVATE KEY" not in text, where
        assert [name for name, value in hidden.items() if value in text] == [], where


def visible(mesh: Mesh) -> dict[str, str]:
    """All that people and programs get to see of a mesh: logs, arguments, environments of apps, metrics, states."""
    found = {str(f): f.read_text(errors="replace") for f in mesh.state.rglob("*.log") if "openbao/data" not in str(f)}
    assert len(found) > 20
    for process in processes_below(mesh):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            found[f"arguments of {process.pid}"] = " ".join(process.cmdline())
            found[f"environment of {process.pid}"] = json.dumps(process.environ())
    assert sum(name.startswith("environment of") for name in found) > 20
    found |= {str(f): f.read_text() for f in mesh.state.glob("instances/*/*.json")}
    address = mesh.instance("web-v1-0").inbound.rsplit(".", 2)[0] + ".255.1"
    with httpx.Client(trust_env=False, verify=PLAIN, timeout=20) as client:
        for port in (15011, 15012):
            found[f"metrics at {port}"] = client.get(f"http://{address}:{port}/metrics").raise_for_status().text
        found["discovery"] = client.get(f"http://{address}:15080/sd").raise_for_status().text
        metrics = f"http://{mesh.instance('web-v1-0').inbound.partition(':')[0]}:15090/stats/prometheus"
        found["metrics of web"] = client.get(metrics).raise_for_status().text
    for name in ("host", "xds_server", "certmgr", "telemetry"):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(mesh.run / f"{name}.sock"), verify=PLAIN)) as api:
            found[f"status of {name}"] = api.get("http://x/status", timeout=20).raise_for_status().text
    transport = httpx.HTTPTransport(uds=str(mesh.run / "admin-web-v1-0.sock"), verify=PLAIN)
    with httpx.Client(transport=transport, timeout=20) as admin:
        dump = admin.get("http://envoy/config_dump").raise_for_status().text
    found["config dump of web"] = dump
    return found


def test_the_search_for_secrets_would_find_them(shop: Mesh) -> None:
    """Each is where it is kept, spelled as it is looked for."""
    for file, value in secrets(shop).items():
        if file.startswith("/"):
            assert value in Path(file).read_text()


def test_no_proxy_follows_a_file(shop: Mesh) -> None:
    """A user has 128 inotify instances, and each file that an Envoy follows would take one: hence no secret is one."""
    holders = {p.cmdline()[-1] for p in processes_below(shop) if any("inotify" in fd for fd in open_files(p.pid))}
    assert len(holders) <= 1, "`legation up` itself, for mesh.yaml"
    assert [h for h in holders if "up.json" not in h] == []


def open_files(pid: int) -> list[str]:
    """Return what a process has open."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(one.readlink()))
    return found
