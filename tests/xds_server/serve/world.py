"""A consumer of ours, a certificate authority for tests, and raw delta clients over real gRPC."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest, until
from xds_server.protocol.types import Effect
from xds_server.serve.hds import AdmittedHealth
from xds_server.serve.servicers import ADS
from xds_server.serve.stream import Admitted, Rejected, StreamInfo
from xds_server.snapshot import Snapshot


async def seen(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Wait until something holds, and fail when it does not in time."""

    async def ask() -> bool:
        return condition()

    assert await until(ask, limit, every=0.01), "it did not happen in time"


@dataclass
class Consumer:
    """Gives every node the same snapshot, and writes down all that happens."""

    snapshots: Latest[Snapshot]
    specifiers: Latest[bytes] = field(default_factory=lambda: Latest(b""))
    refuse: str = ""
    infos: list[StreamInfo] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    reports: list[bool | None] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    async def admit(self, info: StreamInfo) -> Admitted:
        self.infos.append(info)
        if self.refuse:
            raise Rejected(self.refuse)
        self.open.add(len(self.infos))
        return Admitted(len(self.infos), self.snapshots)

    def observe(self, stream: Admitted, effect: Effect) -> None:
        assert stream.key in self.open
        self.effects.append(effect)

    def closed(self, stream: Admitted) -> None:
        self.open.remove(stream.key)

    async def admit_health(self, info: StreamInfo) -> AdmittedHealth:
        self.infos.append(info)
        self.open.add(len(self.infos))
        return AdmittedHealth(len(self.infos), self.specifiers)

    def health(self, stream: AdmittedHealth, healthy: bool | None) -> None:
        self.reports.append(healthy)

    def health_closed(self, stream: AdmittedHealth) -> None:
        self.open.remove(stream.key)

    def of(self, kind: type) -> list:
        return [effect for effect in self.effects if isinstance(effect, kind)]


class Call:
    """One delta stream of a client that does as it is told."""

    def __init__(self, channel: grpc.aio.Channel, method: str = f"/{ADS}/DeltaAggregatedResources") -> None:
        self.call: Any = channel.stream_stream(method)()

    async def send(self, node: str = "", features: tuple[str, ...] = (), **fields) -> None:
        request = DeltaDiscoveryRequest(**fields)
        request.node.id = node
        request.node.client_features.extend(features)
        await self.call.write(request.SerializeToString())

    async def read(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(10):
            data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return DeltaDiscoveryResponse.FromString(data)

    async def end(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(10):
            return await self.call.code(), await self.call.details()


@asynccontextmanager
async def dial(address: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "xds.test")]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options[:1])
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        yield channel


class Authority:
    """A certificate authority that lives as long as its test."""

    def __init__(self, name: str = "test root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key, 1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, spiffe_id: str, serial: int, life: dt.timedelta = dt.timedelta(hours=1)) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        sans = [x509.UniformResourceIdentifier(spiffe_id), x509.DNSName("xds.test")]
        sans.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        leaf = (
            self._builder(x509.Name([]), key, serial, life)
            .add_extension(x509.SubjectAlternativeName(sans), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity.of(leaf.public_bytes(serialization.Encoding.PEM), private, self.pem)

    def _builder(self, subject, key, serial, life=dt.timedelta(hours=1)) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + life)
        )


def client_credentials(identity: Identity) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(identity.trust_bundle, identity.private_key, identity.certificate_chain)


class SotwCall(Call):
    """One state-of-the-world stream."""

    def __init__(self, channel: grpc.aio.Channel, method: str = f"/{ADS}/StreamAggregatedResources") -> None:
        super().__init__(channel, method)

    async def send(self, node: str = "", features: tuple[str, ...] = (), **fields) -> None:
        request = DiscoveryRequest(**fields)
        request.node.id = node
        request.node.client_features.extend(features)
        await self.call.write(request.SerializeToString())

    async def read(self) -> DiscoveryResponse:
        async with asyncio.timeout(10):
            data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return DiscoveryResponse.FromString(data)
