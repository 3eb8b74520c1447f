"""Who we are: a certificate, its key and whom to trust, followed over SDS as any Envoy would."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from legation.mesh import names
from legation.runtime.tasks import Latest, backoff, pause

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type URL
METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
RETRY_BASE, RETRY_LIMIT = 0.1, 2.0
"""Seconds of back-off between attempts to reach the socket."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """An X509-SVID with what verifies its peers, all PEM. `not_after` is in seconds since the epoch."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    trust_bundle: bytes
    serial: str
    not_after: float

    @classmethod
    def of(cls, certificate_chain: bytes, private_key: bytes, trust_bundle: bytes) -> "Identity":
        """Return the identity that the PEMs make; ValueError when they do not belong together."""
        leaf = x509.load_pem_x509_certificates(certificate_chain)[0]
        if load_pem_private_key(private_key, None).public_key() != leaf.public_key():
            raise ValueError("the private key is not that of the certificate")
        x509.load_pem_x509_certificates(trust_bundle)
        return cls(certificate_chain, private_key, trust_bundle, serial_of(leaf), leaf.not_valid_after_utc.timestamp())


def serial_of(certificate: x509.Certificate) -> str:
    """Return a serial number as lower-case hex of whole bytes, without colons: as Envoy writes it."""
    digits = f"{certificate.serial_number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


async def follow(socket_path: Path, node_id: str, latest: Latest[Identity | None]) -> None:
    """Keep `latest` at the newest complete identity that the SDS socket gives; ends only by cancellation."""
    while True:
        async for attempt in backoff(RETRY_BASE, RETRY_LIMIT):
            try:
                if await _follow_once(socket_path, node_id, latest):
                    log.info("identity stream ended", socket=str(socket_path))
                    await pause(RETRY_BASE)
                    break
            except grpc.aio.AioRpcError as error:
                report = log.warning if attempt == 0 else log.debug
                report("identity socket does not answer", socket=str(socket_path), error=error.details())


async def _follow_once(socket_path: Path, node_id: str, latest: Latest[Identity | None]) -> bool:
    """Follow one stream to its end; return whether it brought anything."""
    # a pool of its own: channels of one process share their back-off otherwise, up to two minutes of it
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"unix:{socket_path}", options=options) as channel:
        stub = channel.stream_stream(
            METHOD,
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )
        call = stub()
        await call.write(_first_request(node_id))
        secrets: dict[str, Secret] = {}
        try:
            async for response in _responses(call):
                await call.write(_take(response, secrets, latest))
        except grpc.aio.AioRpcError:
            if not secrets:
                raise
        return bool(secrets)


async def _responses(call: Any) -> AsyncIterator[DeltaDiscoveryResponse]:
    """Yield responses until the server ends the stream."""
    while (response := await call.read()) is not grpc.aio.EOF:
        yield response


def _first_request(node_id: str) -> DeltaDiscoveryRequest:
    request = DeltaDiscoveryRequest(type_url=SECRET_TYPE, resource_names_subscribe=[names.MESH_CERT, names.MESH_CA])
    request.node.id = node_id
    request.node.user_agent_name = "legation"
    return request


def _take(
    response: DeltaDiscoveryResponse, secrets: dict[str, Secret], latest: Latest[Identity | None]
) -> DeltaDiscoveryRequest:
    """Take a response; return its ACK, or its NACK when what it gives makes no identity."""
    answer = DeltaDiscoveryRequest(type_url=SECRET_TYPE, response_nonce=response.nonce)
    given = dict(secrets)
    for resource in response.resources:
        given[resource.name] = Secret.FromString(resource.resource.value)
    try:
        identity = _identity(given)
    except ValueError as error:
        log.warning("identity NACKed", error=str(error))
        answer.error_detail.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
        answer.error_detail.message = str(error)
        return answer
    secrets.update(given)
    if identity is not None and identity != latest.value:
        latest.set(identity)
        log.info("identity is new", serial=identity.serial, not_after=identity.not_after)
    return answer


def _identity(secrets: Mapping[str, Secret]) -> Identity | None:
    """Return the identity that the secrets make, None while one is missing; ValueError when they make none."""
    if not {names.MESH_CERT, names.MESH_CA} <= secrets.keys():
        return None
    pair = secrets[names.MESH_CERT].tls_certificate
    trusted = secrets[names.MESH_CA].validation_context.trusted_ca
    return Identity.of(_inline(pair.certificate_chain), _inline(pair.private_key), _inline(trusted))


def _inline(source: DataSource) -> bytes:
    """Return what a data source holds; ValueError when it points elsewhere."""
    match source.WhichOneof("specifier"):
        case "inline_bytes":
            return bytes(source.inline_bytes)
        case "inline_string":
            return str(source.inline_string).encode()
        case other:
            raise ValueError(f"a secret's data is {other or 'missing'}; only inline data is taken")
