"""Two sidecars and an app behind them, all of them stock Envoys: ours as compile wrote them, and a minimal pair."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.program import Broken
from legation.mesh import names
from legation.mesh.instance import InstanceSpec, Log
from legation.mesh.load import load
from legation.runtime import binaries
from legation.runtime.tasks import until
from legation.sidecar.admin import Admin
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.authority import Authority
from tests.xds_server.compile.rendition import static_file
from xds_server.compile import BootstrapInput, Compiler, bootstrap
from xds_server.endpoint import Endpoint

CALLER, CALLED = "web", "items"
APP_PORT, ASKED_PORT = 20000, 20001
TRUST_DOMAIN = "bench.local"
_TYPES = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(slot: int) -> str:
    """Return a loopback address of this process alone."""
    pid = os.getpid()
    return f"127.{180 + (pid >> 8) % 10}.{pid & 255}.{10 + slot}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Where an app would send its requests, and the processes in between."""

    url: str
    pids: tuple[int, ...]


Under = Callable[[str], Sequence[str]]
"""The program, with its arguments, under which the Envoy of that name runs; none: it runs by itself."""


def _as_it_is(started: dict[str, Any]) -> dict[str, Any]:
    return started


def _by_itself(_: str) -> Sequence[str]:
    return ()


@asynccontextmanager
async def ours(
    folder: Path,
    text: str,
    *others: str,
    slot: int = 1,
    change: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is,
    under: Under = _by_itself,
    log: Log = "stdout",
) -> AsyncIterator[Pair]:
    """Run the caller's and the called sidecar of a mesh.yaml, and those of `others`, which the called one asks.

    `change` is made to what each Envoy starts with; pairs beside each other take other slots. A log
    over OTLP goes to the app, which takes whatever it is sent.
    """
    mesh = load(text, "mesh.yaml")
    compiler, authority = Compiler(mesh), Authority("bench")
    nodes = [_node(service, at, log) for at, service in enumerate((CALLER, CALLED), start=slot)]
    nodes += [replace(_node(service, slot + 2, log), app_port=ASKED_PORT) for service in others]
    endpoints = {n.service: (Endpoint(n.id, n.version, n.address, n.port),) for n in nodes}
    async with AsyncExitStack() as stack:
        pids = []
        for node in nodes:
            secrets = authority.issue(names.spiffe_id(TRUST_DOMAIN, node.service), folder / f"secrets-{node.service}")
            given = BootstrapInput(
                node,
                TRUST_DOMAIN,
                "127.0.0.1",
                1,
                "/nowhere",
                str(folder / f"{node.id}.sock"),
                mesh.mesh.metrics.is_full,
            )
            static = json.loads(static_file(bootstrap(given), compiler.snapshot(node, endpoints), secrets))
            text = json.dumps(change(_logs_to_the_app(static)))
            pids.append(await stack.enter_async_context(envoy(folder, node.id, text, (*_told(node), *under(node.id)))))
        called = [call.service for call in mesh.mesh.services[CALLER].calls]
        yield Pair(f"http://{nodes[0].address}:{names.outbound_ports(called, {})[CALLED]}", tuple(pids[:2]))


def _told(node: InstanceSpec) -> Sequence[str]:
    """Return what puts into an Envoy's environment who it is, as `legation run` does."""
    return ("env", f"{names.INSTANCE_VARIABLE}={node.id}", f"{names.VERSION_VARIABLE}={node.version}")


def _logs_to_the_app(started: dict[str, Any]) -> dict[str, Any]:
    """Have the access log, where it is to go over OTLP, go to the app."""
    (cluster,) = (c for c in started["static_resources"]["clusters"] if c["name"] == names.LOGS_CLUSTER)
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"] = {"socket_address": {"address": address(0), "port_value": APP_PORT}}
    return started


def _node(service: str, slot: int, log: Log) -> InstanceSpec:
    return InstanceSpec(
        service, service, "v1", "1", address(slot), names.INBOUND_PORT,
        app_address=address(0), app_port=APP_PORT, metrics_port=names.METRICS_PORT, log=log,
        in_environment=True, lines_module=lines_module(),
    )  # fmt: skip


@asynccontextmanager
async def minimal(
    folder: Path, protocol: str, filters: Sequence[Any] = (), slot: int = 8, under: Under = _by_itself
) -> AsyncIterator[Pair]:
    """Run a pair written by hand that does mTLS and nothing else; `filters` come before its connection managers."""
    authority = Authority("bench")
    by, at = [authority.issue(f"spiffe://{TRUST_DOMAIN}/{n}", folder / f"{n}-peer") for n in (CALLER, CALLED)]
    client, server = (address(slot), 15001), (address(slot + 1), 15006)
    spoken = "http_protocol_options" if protocol == "http1" else "http2_protocol_options"
    app: Any = {"explicit_http_config": {spoken: {}}}
    hop = _socket(_tls("UpstreamTlsContext", by, CALLED))
    first = _proxy("peer-client", client, server, {"explicit_http_config": {"http2_protocol_options": {}}}, filters)
    first["clusters"][0]["transport_socket"] = hop
    second = _proxy("peer-server", server, (address(0), APP_PORT), app, filters)
    second["listeners"][0]["filter_chains"][0]["transport_socket"] = _socket(_tls("DownstreamTlsContext", at, CALLER))
    async with AsyncExitStack() as stack:
        pids = []
        for name, resources in (("peer-client", first), ("peer-server", second)):
            admin = {"address": {"pipe": {"path": str(folder / f"{name}.sock")}}}
            text = json.dumps({"admin": admin, "static_resources": resources})
            pids.append(await stack.enter_async_context(envoy(folder, name, text, under(name))))
        yield Pair(f"http://{client[0]}:{client[1]}", tuple(pids))


def _proxy(name: str, at: tuple[str, int], to: tuple[str, int], options: Any, filters: Sequence[Any]) -> Any:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "next"}}
    found = listener(name, at, {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}, filters)
    protocol = {"@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions", **options}
    where = {"endpoint": {"address": {"socket_address": {"address": to[0], "port_value": to[1]}}}}
    cluster = {
        "name": "next",
        "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [where]}]},
        "typed_extension_protocol_options": {_OPTIONS: protocol},
    }
    return {"listeners": [found], "clusters": [cluster]}


def listener(name: str, at: tuple[str, int], routes: Mapping[str, Any], filters: Sequence[Any] = ()) -> dict[str, Any]:
    """Return a listener written by hand."""
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": routes,
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}}],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": at[0], "port_value": at[1]}},
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [*filters, {"name": "http", "typed_config": manager}]}],
    }


def _tls(kind: str, secrets: Path, peer: str) -> Any:
    pair = {"certificate_chain": secrets / "cert.pem", "private_key": secrets / "key.pem"}
    san = {"san_type": "URI", "matcher": {"exact": f"spiffe://{TRUST_DOMAIN}/{peer}"}}
    context = {"trusted_ca": {"filename": str(secrets / "ca.pem")}, "match_typed_subject_alt_names": [san]}
    common = {
        "tls_certificates": [{key: {"filename": str(file)} for key, file in pair.items()}],
        "validation_context": context,
        "alpn_protocols": ["h2"],
    }
    asked = {"require_client_certificate": True} if kind == "DownstreamTlsContext" else {"sni": peer}
    return {"@type": f"{_TYPES}.transport_sockets.tls.v3.{kind}", "common_tls_context": common, **asked}


def _socket(config: Any) -> Any:
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


@asynccontextmanager
async def app(folder: Path, keys: str) -> AsyncIterator[int]:
    """Run the lightest of apps, in HTTP/1, HTTP/2 and gRPC; at /jwks.json it has `keys`."""

    def answer(text: str) -> Any:
        return {"status": 200, "body": {"inline_string": text}}

    grpc = [{"header": {"key": k, "value": v}} for k, v in (("content-type", "application/grpc"), ("grpc-status", "0"))]
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    routes = [
        {"match": {"path": "/jwks.json"}, "direct_response": answer(keys)},
        {
            "match": {"prefix": "/", "headers": [is_grpc]},
            "direct_response": {"status": 200},
            "response_headers_to_add": grpc,
        },
        {"match": {"prefix": "/"}, "direct_response": answer("ok\n")},
    ]
    hosts = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    admin = {"address": {"pipe": {"path": str(folder / "app.sock")}}}
    resources = {"listeners": [listener("app", (address(0), APP_PORT), hosts)]}
    async with envoy(folder, "app", json.dumps({"admin": admin, "static_resources": resources})) as pid:
        yield pid


@asynccontextmanager
async def envoy(folder: Path, name: str, text: str, under: Sequence[str] = ()) -> AsyncIterator[int]:
    """Run a stock Envoy with one worker, as our sidecars have, while the block runs; gives its process id."""
    file = folder / f"{name}.json"
    file.write_text(text)
    quiet = ("--disable-hot-restart", "--concurrency", "1", "-l", "error")
    argv = [*under, str(binaries.envoy()), "-c", str(file), *quiet]
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        admin = Admin(folder / f"{name}.sock")
        limit = 120 if under else 20
        if not await until(lambda: _is_live(admin), limit=limit):
            raise Broken(f"an Envoy is not up within {limit} s: {(folder / f'{name}.log').read_text()[-800:]}")
        yield process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_live(admin: Admin) -> bool:
    return await admin.is_ready("")
