"""Who we are: a certificate, its key and whom to trust, followed over SDS as any Envoy would."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from legation.mesh import names
from legation.runtime import tasks
from legation.runtime.tasks import Latest

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type URL
METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
RETRY_BASE, RETRY_LIMIT = 0.1, 2.0
"""Seconds of back-off between attempts to reach the socket."""

if TYPE_CHECKING:
    from cryptography import x509

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
        # Here alone: a sidecar does without, which is a third of what it holds and a tenth of its image.
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        leaf = x509.load_pem_x509_certificates(certificate_chain)[0]
        if load_pem_private_key(private_key, None).public_key() != leaf.public_key():
            raise ValueError("the private key is not that of the certificate")
        x509.load_pem_x509_certificates(trust_bundle)
        return cls(certificate_chain, private_key, trust_bundle, serial_of(leaf), leaf.not_valid_after_utc.timestamp())


def serial_of(certificate: "x509.Certificate") -> str:
    """Return a serial number as lower-case hex of whole bytes, without colons: as Envoy writes it."""
    digits = f"{certificate.serial_number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


Make = Callable[[bytes, bytes, bytes], Identity]
"""Of a certificate chain, its key and a trust bundle; ValueError when they do not belong together."""


async def follow(socket_path: Path, node_id: str, latest: Latest[Identity | None], make: Make = Identity.of) -> None:
    """Keep `latest` at the newest complete identity that the SDS socket gives; ends only by cancellation."""

    def lost(error: Exception, attempt: int) -> None:
        report = log.warning if attempt == 0 else log.debug
        why = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        report("identity stream lost", socket=str(socket_path), error=why)

    stream = partial(_identities, socket_path, node_id, make)
    transient = (grpc.aio.AioRpcError,)
    async for identity in tasks.follow(stream, lost, transient=transient, base=RETRY_BASE, limit=RETRY_LIMIT):
        if identity != latest.value:
            latest.set(identity)
            log.info("identity is new", serial=identity.serial, not_after=identity.not_after)


async def _identities(socket_path: Path, node_id: str, make: Make) -> AsyncIterator[Identity]:
    """Yield the identities of one stream, to its end."""
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
        async for response in _responses(call):
            answer, identity = _take(response, secrets, make)
            await call.write(answer)
            if identity is not None:
                yield identity


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
    response: DeltaDiscoveryResponse, secrets: dict[str, Secret], make: Make
) -> tuple[DeltaDiscoveryRequest, Identity | None]:
    """Take a response; return its ACK and what identity there is now, or its NACK when what it gives makes none."""
    answer = DeltaDiscoveryRequest(type_url=SECRET_TYPE, response_nonce=response.nonce)
    given = dict(secrets)
    for resource in response.resources:
        given[resource.name] = Secret.FromString(resource.resource.value)
    try:
        identity = _identity(given, make)
    except ValueError as error:
        log.warning("identity NACKed", error=str(error))
        answer.error_detail.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
        answer.error_detail.message = str(error)
        return answer, None
    secrets.update(given)
    return answer, identity


def _identity(secrets: Mapping[str, Secret], make: Make) -> Identity | None:
    """Return the identity that the secrets make, None while one is missing; ValueError when they make none."""
    if not {names.MESH_CERT, names.MESH_CA} <= secrets.keys():
        return None
    pair = secrets[names.MESH_CERT].tls_certificate
    trusted = secrets[names.MESH_CA].validation_context.trusted_ca
    return make(_inline(pair.certificate_chain), _inline(pair.private_key), _inline(trusted))


def _inline(source: DataSource) -> bytes:
    """Return what a data source holds; ValueError when it points elsewhere."""
    match source.WhichOneof("specifier"):
        case "inline_bytes":
            return bytes(source.inline_bytes)
        case "inline_string":
            return str(source.inline_string).encode()
        case other:
            raise ValueError(f"a secret's data is {other or 'missing'}; only inline data is taken")
