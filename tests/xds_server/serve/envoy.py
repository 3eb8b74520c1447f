"""A stock Envoy for tests, configured over delta ADS on a unix socket, and the resources that it is given."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

import httpx
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 - for the Any in the JSON
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401 - for the Any in the JSON
)
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from legation.runtime import binaries
from legation.runtime.tasks import until
from tests.support.mesh import PLAIN
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource

HTTP = "type.googleapis.com/envoy.extensions.filters"
ADS_SOURCE = {"ads": {}, "resource_api_version": "V3"}


BACK_OFF = {"base_interval": "0.2s", "max_interval": "1s"}
SERVICE = [{"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": BACK_OFF}}}]


def alone(api_type: str) -> dict:
    """The config source of a type that comes over a stream of its own."""
    api = {"api_type": api_type, "transport_api_version": "V3", "grpc_services": SERVICE}
    return {"api_config_source": api, "resource_api_version": "V3"}


def bootstrap(folder: Path, *, hds: bool = False, api_type: str = "DELTA_GRPC", source: dict | None = None) -> dict:
    """The bootstrap of an Envoy whose server is `folder/xds.sock`; with a source of its own it has no ADS."""
    pipe = {"endpoint": {"address": {"pipe": {"path": str(folder / "xds.sock")}}}}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [pipe]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    api = {"transport_api_version": "V3", "grpc_services": SERVICE}
    ads = {"ads_config": {"api_type": api_type, **api}} if source is None else {}
    return {
        "node": {"id": "web-v1-0", "cluster": "web"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock"), "mode": 0o600}}},
        "dynamic_resources": {
            **ads,
            "cds_config": source or ADS_SOURCE,
            "lds_config": source or ADS_SOURCE,
        },
        "static_resources": {"clusters": [xds]},
        **({"hds_config": {"api_type": "GRPC", **api}} if hds else {}),
    }


class Envoy:
    """One running Envoy."""

    def __init__(self, folder: Path, pid: int = 0) -> None:
        self.pid = pid
        self._http = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(folder / "admin.sock")))

    async def admin(self, path: str) -> str:
        return (await self._http.get(f"http://admin{path}")).text

    async def ready(self) -> bool:
        try:
            return (await self.admin("/ready")).strip() == "LIVE"
        except httpx.HTTPError:
            return False

    async def stat(self, name: str) -> int:
        text = await self.admin(f"/stats?filter=^{name}$&format=json")
        return sum(stat.get("value", 0) for stat in json.loads(text)["stats"])


@asynccontextmanager
async def running(
    folder: Path,
    *,
    hds: bool = False,
    api_type: str = "DELTA_GRPC",
    source: dict | None = None,
    program: Path | None = None,
) -> AsyncIterator[Envoy]:
    """A started Envoy (not yet a ready one); its log is in folder/envoy.log."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(folder, hds=hds, api_type=api_type, source=source)))
    command: list[str | Path] = [
        program or binaries.envoy(),
        "-c",
        config,
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "-l",
        "info",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield Envoy(folder, process.pid)
    finally:
        process.kill()
        await process.wait()


async def get(url: str) -> tuple[int, str]:
    """One request on a connection of its own; status 0 when nobody listens."""
    async with httpx.AsyncClient(verify=PLAIN) as client:
        try:
            response = await client.get(url)
        except httpx.TransportError:
            return 0, ""
        return response.status_code, response.text


async def answers(url: str, status: int, text: str, limit: float = 10.0) -> bool:
    """Wait until a URL answers so."""

    async def ask() -> bool:
        return await get(url) == (status, text)

    return await until(ask, limit)


@asynccontextmanager
async def app(says: str) -> AsyncIterator[int]:
    """An HTTP server that says one thing; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(says)}\r\n\r\n{says}".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resource(type_url: str, name: str, message: Message) -> Resource:
    return Resource.of(type_url, name, message.SerializeToString(deterministic=True))


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, timeout: str = "1s", source: dict = ADS_SOURCE) -> Resource:
    fields = {"name": name, "type": "EDS", "connect_timeout": timeout, "eds_cluster_config": {"eds_config": source}}
    return resource(CLUSTER, name, ParseDict(fields, Cluster()))


def endpoints(name: str, *ports: int) -> Resource:
    hosts = [{"endpoint": {"address": address(port)}} for port in ports]
    fields = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}
    return resource(ENDPOINT, name, ParseDict(fields, ClusterLoadAssignment()))


def listener(name: str, port: int, route_name: str, stat_prefix: str = "in", source: dict = ADS_SOURCE) -> Resource:
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "rds": {"config_source": source, "route_config_name": route_name},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"}},
        ],
    }
    fields = {
        "name": name,
        "address": address(port),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return resource(LISTENER, name, ParseDict(fields, Listener()))


def broken_listener(name: str) -> Resource:
    """One without an address."""
    return resource(LISTENER, name, Listener(name=name))


def route(name: str, to: str) -> Resource:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to}}]}
    return resource(ROUTE, name, ParseDict({"name": name, "virtual_hosts": [host]}, RouteConfiguration()))
