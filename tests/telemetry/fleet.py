"""Stock Envoys on our own compile and our own discovery server, with certificates of a test CA."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime import binaries
from legation.runtime.control.messages import Instance
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from legation.sidecar.environment import envoy_environment
from tests.xds_server.serve.world import Authority
from xds_server.compile import BootstrapInput, Compiler, bootstrap
from xds_server.endpoint import Endpoint
from xds_server.protocol.types import Effect
from xds_server.serve.server import serve
from xds_server.serve.stream import Admitted, StreamInfo
from xds_server.snapshot import SECRET, Snapshot

SDS = "envoy.service.secret.v3.SecretDiscoveryService"


class Fleet:
    """One Envoy a node, and what each of them is told."""

    def __init__(self, text: str, nodes: list[InstanceSpec], folder: Path, logs: Path | None = None) -> None:
        self.sourced, self.folder = load(text, "mesh.yaml"), folder
        self.nodes = [replace(node, log="otlp" if logs else "stdout", in_environment=True) for node in nodes]
        self.authority, self.logs = Authority(), logs
        self._streams = 0
        endpoints = {n.service: (Endpoint(n.id, n.version, n.address, n.port),) for n in nodes}
        compiler = Compiler(self.sourced)
        self.snapshots: dict[str, Snapshot] = {node.id: compiler.snapshot(node, endpoints) for node in nodes}

    @property
    def mesh(self) -> Mesh:
        return self.sourced.mesh

    def instances(self) -> list[Instance]:
        return [
            Instance(
                spec=n, state="ready", healthy=None, connected=True, synced=True,
                spiffe_id=names.spiffe_id(self.mesh.trust_domain, n.service),
            )
            for n in self.nodes
        ]  # fmt: skip

    async def admit(self, info: StreamInfo) -> Admitted:
        self._streams += 1
        return Admitted(self._streams, Latest(self.snapshots[info.node_id]))

    def observe(self, stream: Admitted, effect: Effect) -> None:
        pass

    def closed(self, stream: Admitted) -> None:
        pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            identity = Latest[Identity | None](self._issue(names.XDS_SERVER))
            server = await stack.enter_async_context(serve(self, address="127.0.0.1:0", identity=identity, grace=0.1))
            for node in self.nodes:
                socket = self.folder / f"{node.id}.sds"
                await stack.enter_async_context(_secrets(socket, self._issue(node.service)))
                await stack.enter_async_context(self._envoy(node, int(server.address.rpartition(":")[2]), socket))
            yield

    def _issue(self, name: str) -> Identity:
        return self.authority.issue(names.spiffe_id(self.mesh.trust_domain, name), 1 + len(name))

    @asynccontextmanager
    async def _envoy(self, node: InstanceSpec, xds_port: int, sds: Path) -> AsyncIterator[None]:
        admin = self.folder / f"{node.id}.admin"
        config = self.folder / f"{node.id}.json"
        given = BootstrapInput(node, self.mesh.trust_domain, "127.0.0.1", xds_port, str(sds), str(admin))
        if self.logs is not None:
            given = replace(given, logs_socket=str(self.logs))
        config.write_text(bootstrap(given))
        command: list[str | Path] = [
            binaries.envoy(),
            "-c",
            config,
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "-l",
            "warning",
        ]
        with (self.folder / f"{node.id}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env=envoy_environment(os.environ, node)
            )
        try:
            yield
        finally:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _secrets(path: Path, identity: Identity) -> AsyncIterator[None]:
    """Serve one identity over SDS, in both variants."""
    held = {secret.name: secret for secret in (_certificate(identity), _ca(identity))}

    async def state_of_the_world(_: object, context: grpc.aio.ServicerContext) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            request = DiscoveryRequest.FromString(data)
            if not request.response_nonce:
                response = DiscoveryResponse(version_info="1", nonce="1", type_url=SECRET)
                for name in request.resource_names:
                    response.resources.add().Pack(held[name])
                await context.write(response.SerializeToString())

    async def delta(_: object, context: grpc.aio.ServicerContext) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            response = DeltaDiscoveryResponse(nonce="1", type_url=SECRET)
            for name in DeltaDiscoveryRequest.FromString(data).resource_names_subscribe:
                response.resources.add(name=name, version="1").resource.Pack(held[name])
            if response.resources:
                await context.write(response.SerializeToString())

    handlers = {"StreamSecrets": state_of_the_world, "DeltaSecrets": delta}
    server = grpc.aio.server()
    methods: dict[str, Any] = {name: grpc.stream_stream_rpc_method_handler(handle) for name, handle in handlers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SDS, methods),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await server.stop(None)


def _certificate(identity: Identity) -> Secret:
    secret = Secret(name=names.MESH_CERT)
    secret.tls_certificate.certificate_chain.inline_bytes = identity.certificate_chain
    secret.tls_certificate.private_key.inline_bytes = identity.private_key
    return secret


def _ca(identity: Identity) -> Secret:
    secret = Secret(name=names.MESH_CA)
    secret.validation_context.trusted_ca.inline_bytes = identity.trust_bundle
    return secret
