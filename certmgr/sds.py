"""SDS: an identity as two xDS resources, and whom they are shown to.

One socket an identity: whoever can open it gets that identity and no other (SDS has no names to
choose by: both secrets have the same two names everywhere). The gateway's has the certificates of its sites too.
"""

from collections.abc import Callable, Mapping
from itertools import count
from types import MappingProxyType

import structlog
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from certmgr.core.bundle import Bundle
from certmgr.core.crl import Crl
from legation.mesh import names
from legation.mesh.edge_files import KeyPair
from legation.runtime.tasks import Latest
from xds_server import Acknowledged, Admitted, Effect, Nacked, Snapshot, StreamInfo

log = structlog.get_logger(__name__)


Sites = Mapping[str, KeyPair]
"""What the gateway shows to the world, by service; other identities have none."""


def snapshot(bundle: Bundle, crl: Crl | None = None, sites: Sites = MappingProxyType({})) -> Snapshot:
    """Return the secrets of an identity: what to show to peers, what to check peers against, what else to show.

    Without `only_verify_leaf_cert_crl` Envoy refuses everybody, as the root's own list is not there.
    """
    certificate = _certificate(bundle.chain_pem(), bundle.key_pem())
    anchor = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=bundle.root_pem()))
    if crl is not None:
        anchor.crl.inline_bytes = crl.pem
        anchor.only_verify_leaf_cert_crl = True
    secrets = (
        Secret(name=names.MESH_CERT, tls_certificate=certificate),
        Secret(name=names.MESH_CA, validation_context=anchor),
    )
    edge = (
        Secret(name=names.edge_secret(service), tls_certificate=_certificate(pair.chain, pair.key))
        for service, pair in sorted(sites.items())
    )
    return Snapshot.of(secrets=(*secrets, *edge))


def _certificate(chain: bytes, key: bytes) -> TlsCertificate:
    return TlsCertificate(certificate_chain=DataSource(inline_bytes=chain), private_key=DataSource(inline_bytes=key))


class Secrets:
    """The source of one identity's socket. Until there is an identity, clients wait: silence, not an empty answer."""

    def __init__(self, name: str, told: Callable[[], None] = lambda: None) -> None:
        """Start without an identity; `told` hears of each NACK."""
        self._name, self._told = name, told
        self._snapshots: Latest[Snapshot | None] = Latest(None)
        self._identity: tuple[Bundle, Crl | None] | None = None
        self._sites: Sites = {}
        self._numbers = count()
        self._acknowledged: dict[int, Snapshot] = {}
        self.streams = 0
        self.nacked: str | None = None

    def show(self, bundle: Bundle, crl: Crl | None = None) -> None:
        """Give an identity to everyone who asks, now and later, and whom of its peers not to trust any more."""
        self.nacked = None
        self._identity = bundle, crl
        self._snapshots.set(snapshot(bundle, crl, self._sites))

    def show_sites(self, sites: Sites) -> None:
        """Give these certificates to the gateway, beside its identity."""
        self._sites = sites
        if self._identity is not None:
            self.show(*self._identity)

    @property
    def acknowledged(self) -> int:
        """How many streams have taken what is shown now."""
        return sum(seen is self._snapshots.value for seen in self._acknowledged.values())

    async def admit(self, info: StreamInfo) -> Admitted:  # noqa: ARG002 - who may open the socket may ask
        """Take a stream, whether or not there is something to say yet."""
        self.streams += 1
        return Admitted(next(self._numbers), self._snapshots)

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """See who has taken what is shown, and who NACKs it: that is logged, and shown until the secrets change."""
        match effect:
            case Acknowledged(snapshot=seen, nacks=nacks) if not nacks:
                self._acknowledged[stream.key] = seen
            case Nacked(error=error):
                self.nacked = error
                self._told()
                log.warning("proxy NACKs a secret", identity=self._name, error=error)
            case _:
                pass

    def closed(self, stream: Admitted) -> None:
        """See the end of a stream."""
        self._acknowledged.pop(stream.key, None)
        self.streams -= 1
