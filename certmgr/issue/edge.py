"""Has the gateway's certificates signed: a key made here, the role's hosts looked at, the answer verified."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core import edge
from certmgr.core.bundle import Bundle
from certmgr.core.edge import EdgeSpec, edge_faults
from certmgr.core.layout import EDGE, INT_MOUNT
from certmgr.core.ledger import Record
from certmgr.core.trust import anchor
from certmgr.issue.csr import key_of, leaf_request
from certmgr.issue.issuer import IssueError, Kept, NotEnrolled, WrongAnswer, certificates
from certmgr.issue.login import Login
from certmgr.issue.setup import CannotSetUp, Enroller
from certmgr.issue.vault import AppRole, Denied, Missing, Token, Vault, pick
from certmgr.store import Store
from legation.mesh import names
from legation.runtime.clock import Clock

_SET_UP = "legation certs init with this mesh.yaml sets it up"
_RIGHT = "and what this host logs in with needs mesh-enrol-edge"


class EdgeIssuer:
    """Issues the certificates that the gateway shows. Blocks."""

    def __init__(
        self, vault: Vault, kept: Kept, clock: Clock, record: Callable[[Record], None], *, free: bool = False
    ) -> None:
        """Take what is kept of the set-up and what writes the ledger; `free`: new hosts come without an operator."""
        self._vault, self._kept, self._clock, self._record, self._free = vault, kept, clock, record, free
        self._login = Login(lambda: vault.login(self._enrolled()), clock)

    def issue(self, spec: EdgeSpec) -> Bundle:
        """Return a new, verified certificate with its key; IssueError or VaultError when there is none."""
        roots = self._kept.roots()
        if not roots:
            raise NotEnrolled("no root is trusted yet")
        role = self._login.call(lambda token: self._vault.read(token, edge.ROLE_PATH)) or {}
        self._allowed(spec.hosts, role.get("allowed_domains") or ())
        try:
            key = key_of(str(role.get("key_type", "ec")), int(role.get("key_bits") or 0))
        except ValueError as error:
            raise WrongAnswer(str(error)) from None
        request = leaf_request(key)
        asked = {"csr": request, "common_name": "", "alt_names": ",".join(spec.hosts), "ttl": f"{spec.ttl}s"}
        path, more = f"{INT_MOUNT}/sign/{EDGE.role}", {"format": "pem", "remove_roots_from_chain": True}
        answer = self._login.call(lambda token: self._vault.call(token, "post", path, {**asked, **more}))
        leaf, chain = certificates(answer.get("data") or {})
        root = (anchor(chain[-1], roots) if chain else None) or roots[0]
        bundle = Bundle(key, leaf, chain, root)
        self._record(_entry(bundle, request, str(answer.get("request_id") or ""), self._clock.now()))
        if wrong := edge_faults(bundle, spec, root, self._clock.now()):
            raise WrongAnswer(f"the CA's answer is refused: {'; '.join(wrong)}")
        return bundle

    def _allowed(self, hosts: Sequence[str], allowed: Sequence[str]) -> None:
        """Refuse hosts that the role is not for, before Vault does: we know what is to be done."""
        missing = [host for host in hosts if host not in allowed]
        if missing and self._free:
            raise NotEnrolled(f"{edge.ROLE_PATH} is being told of {', '.join(missing)}")
        if missing:
            raise IssueError(f"{edge.ROLE_PATH} is not for {', '.join(missing)}: {_SET_UP}")

    def _enrolled(self) -> AppRole:
        credentials = self._kept.credentials(names.EDGE)
        if credentials is None:
            raise NotEnrolled("no credentials yet")
        return credentials


def _entry(bundle: Bundle, request: str, request_id: str, now: float) -> Record:
    return Record(
        what="issue",
        time=now,
        identity=names.EDGE,
        serial=bundle.serial,
        request_id=request_id,
        not_after=bundle.life[1],
        csr_sha256=sha256(request.encode()).hexdigest(),
        certificate=bundle.leaf.public_bytes(Encoding.PEM).decode(),
    )


class EdgeEnroller:
    """Gives this host the credentials of the role's signer, and the role its hosts where that is ours. Blocks."""

    def __init__(self, vault: Vault, store: Store, *, free: bool) -> None:
        """Name the Vault; `free`: the role's hosts are ours to say."""
        self._vault, self._store, self._free = vault, store, free
        self._named: tuple[str, ...] = ()

    def pending(self, hosts: tuple[str, ...], refused: bool) -> bool:
        """Say whether there is something to do."""
        if not hosts:
            return self._store.credentials(names.EDGE) is not None
        return refused or self._store.credentials(names.EDGE) is None or (self._free and hosts != self._named)

    def enrol(self, token: Token, hosts: tuple[str, ...], refused: bool) -> list[str]:
        """Do it; return what was changed. CannotSetUp where this Vault is not set up for it."""
        try:
            changes = self._name(token, hosts) if self._free else []
            return changes + self._credentials(token, hosts, refused)
        except (Denied, Missing) as error:
            if not hosts:  # the right to remove it was taken away with the rest
                self._store.forget(names.EDGE)
                return []
            fix = (
                "its state folder is of an earlier version: begin with a new one"
                if self._free
                else f"{_SET_UP}, {_RIGHT}"
            )
            raise CannotSetUp(f"no certificates for {', '.join(hosts)} at the gateway: {error}; {fix}") from None

    def _name(self, token: Token, hosts: tuple[str, ...]) -> list[str]:
        found = pick(self._vault.call(token, "get", edge.ROLE_PATH), "data", "allowed_domains") or ()
        changed = sorted(found) != list(hosts)
        if changed:
            self._vault.call(token, "patch", edge.ROLE_PATH, {"allowed_domains": list(hosts)})
        self._named = hosts
        return [f"~{edge.ROLE_PATH}"] if changed else []

    def _credentials(self, token: Token, hosts: tuple[str, ...], refused: bool) -> list[str]:
        has = self._store.credentials(names.EDGE) is not None
        if hosts and (refused or not has):
            self._store.save_credentials(names.EDGE, Enroller(self._vault, token).deliver(names.EDGE))
            return [f"+{names.EDGE}"]
        if has and not hosts:
            Enroller(self._vault, token).remove(names.EDGE)
            self._store.forget(names.EDGE)
            return [f"-{names.EDGE}"]
        return []
