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
from certmgr.core.trust import Trust
from legation.mesh import names
from legation.mesh.edge_files import KeyPair
from legation.runtime.tasks import Latest, Moves
from xds_server import Acknowledged, Admitted, Effect, Nacked, Snapshot, StreamInfo, Subscribed

log = structlog.get_logger(__name__)


Sites = Mapping[str, KeyPair]
"""What the gateway shows to the world, by service; other identities have none."""


_BOTH = frozenset({names.MESH_CERT, names.MESH_CA})

NOBODY_ELSE = Trust()
"""Its own root alone, and nobody is revoked."""


def snapshot(bundle: Bundle, trust: Trust = NOBODY_ELSE, sites: Sites = MappingProxyType({})) -> Snapshot:
    """Return the secrets of an identity: what to show to peers, what to check peers against, what else to show.

    Without `only_verify_leaf_cert_crl` Envoy refuses everybody, as the root's own list is not there.
    """
    certificate = _certificate(bundle.chain_pem(), bundle.key_pem())
    anchor = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=trust.roots_pem(bundle)))
    if trust.crls:
        anchor.crl.inline_bytes = trust.crls_pem()
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

    def __init__(self, name: str, told: Callable[[], None] = lambda: None, moves: Moves | None = None) -> None:
        """Start without an identity; `told` hears of each NACK, and `moves` of each answer and end of a stream."""
        self._name, self._told, self._moves = name, told, moves or Moves()
        self._snapshots: Latest[Snapshot | None] = Latest(None)
        self._identity: tuple[Bundle, Trust] | None = None
        self._sites: Sites = {}
        self._numbers = count()
        self._nodes: dict[int, str] = {}
        self._asks: dict[int, frozenset[str]] = {}
        self._acknowledged: dict[int, Snapshot] = {}
        self.nacked: str | None = None

    def show(self, bundle: Bundle, trust: Trust = NOBODY_ELSE) -> None:
        """Give an identity to everyone who asks, now and later, and whom of its peers to trust."""
        if (bundle, trust) == self._identity:  # else the answers that there are would count for nothing
            return
        self._identity = bundle, trust
        self._give()

    def show_sites(self, sites: Sites) -> None:
        """Give these certificates to the gateway, beside its identity."""
        self._sites = sites
        self._give()

    def _give(self) -> None:
        if self._identity is not None:
            self.nacked = None
            self._snapshots.set(snapshot(*self._identity, self._sites))

    @property
    def streams(self) -> int:
        """How many streams there are."""
        return len(self._nodes)

    @property
    def acknowledged(self) -> int:
        """How many streams have taken what is shown now."""
        return sum(seen is self._snapshots.value for seen in self._acknowledged.values())

    def late(self) -> frozenset[str]:
        """Return the nodes with a stream that has not taken what is shown now."""
        shown = self._snapshots.value
        return frozenset(node for key, node in self._nodes.items() if self._acknowledged.get(key) is not shown)

    def taken(self) -> frozenset[str]:
        """Return the nodes all of whose streams have, certificate and anchors: an Envoy has a stream for each."""
        asked: dict[str, frozenset[str]] = {}
        for key, node in self._nodes.items():
            asked[node] = asked.get(node, frozenset()) | self._asks.get(key, frozenset())
        return frozenset(node for node, names in asked.items() if names >= _BOTH) - self.late()

    async def admit(self, info: StreamInfo) -> Admitted:
        """Take a stream, whether or not there is something to say yet; who may open the socket may ask."""
        key = next(self._numbers)
        self._nodes[key] = info.node_id
        self._moves.moved()
        return Admitted(key, self._snapshots)

    def observe(self, stream: Admitted, effect: Effect) -> None:
        """See who has taken what is shown, and who NACKs it: that is logged, and shown until the secrets change."""
        match effect:
            case Acknowledged(snapshot=seen, nacks=nacks) if not nacks:
                self._acknowledged[stream.key] = seen
                self._moves.moved()
            case Subscribed(subscribed=more, unsubscribed=less):
                self._asks[stream.key] = self._asks.get(stream.key, frozenset()) - set(less) | set(more)
                self._moves.moved()
            case Nacked(error=error):
                self.nacked = error
                self._told()
                self._moves.moved()
                log.warning("proxy NACKs a secret", identity=self._name, error=error)
            case _:
                pass

    def closed(self, stream: Admitted) -> None:
        """See the end of a stream."""
        self._acknowledged.pop(stream.key, None)
        self._asks.pop(stream.key, None)
        self._nodes.pop(stream.key, None)
        self._moves.moved()
