"""What is over-broad, missing or about to end in a Vault, each with the exact fix: from what is seen there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography import x509

from certmgr.core import edge, layout
from certmgr.core.layout import INT_MOUNT, KINDS, ROOT_MOUNT
from certmgr.core.policies import POLICIES
from certmgr.core.setup import Authority, CannotSetUp, Seen, plan

SOON_DAYS = 30
"""Days before a CA's end in which somebody should know (consul#10643)."""

_OUR_ROLES = {kind.role for kind in (*KINDS, layout.EDGE)}
_PATH = re.compile(r'path\s+"([^"]+)"\s*\{([^}]*(?:\{[^}]*\}[^}]*)*)\}')
_DANGERS = (
    f"{INT_MOUNT}/sign-verbatim",
    f"{INT_MOUNT}/issue/service",
    f"{INT_MOUNT}/roles/service",
    edge.ROLE_PATH,
    f"{INT_MOUNT}/{layout.SIGN_BY_ROOT}",
    f"{ROOT_MOUNT}/issuer/{layout.ROOT_ISSUER}/sign-intermediate",
    f"{ROOT_MOUNT}/{layout.SIGN_BY_ROOT}",
    "auth/mesh-services/role/web/policies",
)
"""What nobody but an operator may do: whoever can, can be anybody in the mesh."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as a security team would want it. `fix` is a command, or what to write.

    It is of a live Vault; a `Violation` is of a line of mesh.yaml, and keeps a mesh from being applied.
    """

    kind: Literal["over-broad", "missing", "ends soon", "unknown"]
    where: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Server:
    """What a Vault says of itself without being asked for anything."""

    address: str
    version: str
    ca: str = ""
    """The file that its own certificate is checked by, as the command was told."""

    @property
    def init(self) -> str:
        """The command that sets it up."""
        return f"legation certs init --vault {self.address}" + (f" --vault-ca {self.ca}" if self.ca else "")

    @property
    def openbao(self) -> bool:
        """Whether it is OpenBao: its versions began at 2 where Vault's were at 1."""
        return not self.version.startswith("1.")

    @property
    def product(self) -> str:
        """Return what people call it."""
        return f"{'OpenBao' if self.openbao else 'Vault'} {self.version}"

    @property
    def command(self) -> str:
        """The server's own command line."""
        return "bao" if self.openbao else "vault"

    def differences(self) -> tuple[str, ...]:
        """Return what set-up does otherwise on this server, in sentences."""
        if self.openbao:
            return (
                "OpenBao ignores permitted_uri_domains: the intermediate's name constraint is in its own request",
                "OpenBao takes audit devices in its configuration file alone: set-up writes none",
            )
        return ("the root is bound by permitted_uri_domains too; Vault before 1.19 ignores that, with a warning",)


def findings(
    seen: Seen, authority: Authority, server: Server, now: float, refused: tuple[str, ...] = ()
) -> tuple[Finding, ...]:
    """Return all that is wrong, the worst first. `refused` are the paths that the token may not read."""
    return (
        *_transport(server),
        *_roles(seen, server),
        *_policies(seen, server),
        *_ends(seen, authority, now),
        *_audit(seen, server, refused),
        *_set_up(seen, authority, server, now),
        *(_unseen(path) for path in refused),
    )


def _transport(server: Server) -> Iterator[Finding]:
    if server.address.startswith("http://"):
        yield Finding(
            "over-broad", server.address, "tokens travel in clear", "serve it over TLS, and use its https URL"
        )


def _roles(seen: Seen, server: Server) -> Iterator[Finding]:
    """Find PKI roles beside ours that sign for names of the mesh."""
    for name in seen.keys(f"{INT_MOUNT}/roles"):
        role = seen.at.get(f"{INT_MOUNT}/roles/{name}", {})
        fix = f"{server.command} delete {INT_MOUNT}/roles/{name}"
        if name in _OUR_ROLES:
            continue
        wide = ", ".join(_wide(role)) or "it is no role of the mesh"
        yield Finding("over-broad", f"{INT_MOUNT}/roles/{name}", f"a role that set-up did not make: {wide}", fix)


def _wide(role: Mapping[str, Any]) -> Iterator[str]:
    if role.get("allow_any_name"):
        yield "allow_any_name=true"
    if any("*" in str(uri) for uri in role.get("allowed_uri_sans") or ()):
        yield f"allowed_uri_sans={','.join(role['allowed_uri_sans'])}"
    if role.get("use_csr_sans"):
        yield "use_csr_sans=true lets the request decide its names"
    if role.get("key_type") == "any":
        yield "key_type=any"


def _policies(seen: Seen, server: Server) -> Iterator[Finding]:
    """Find policies that reach what only an operator may do."""
    for name in seen.keys("sys/policies/acl"):
        text = str(seen.at.get(f"sys/policies/acl/{name}", {}).get("policy") or "")
        if name in {*POLICIES, *edge.POLICIES} - {edge.HOSTS} or not text:
            continue
        for path in sorted({path for path, body in _PATH.findall(text) if _dangerous(path, body)}):
            yield Finding(
                "over-broad",
                f"policy {name}",
                f'path "{path}" reaches what signs for any name: whoever has it can be every service',
                f"take it off every token but an operator's; {server.command} policy read {name} shows it",
            )


def _dangerous(path: str, body: str) -> bool:
    """Say whether a path of a policy covers one of the dangers, with a right that changes something."""
    if not re.search(r'"(create|update|patch|sudo|root)"|"write"', body) or '"deny"' in body:
        return False
    pattern = "".join("[^/]+" if part == "+" else re.escape(part) for part in re.split(r"(\+)", path.removesuffix("*")))
    return any(re.fullmatch(pattern + (".*" if path.endswith("*") else ""), danger) for danger in _DANGERS)


def _ends(seen: Seen, authority: Authority, now: float) -> Iterator[Finding]:
    """Find CAs that end soon: nobody was warned elsewhere (consul#10643, linkerd2#3452)."""
    for mount in dict.fromkeys((authority.root_mount, INT_MOUNT)):
        for issuer in seen.issuers(mount):
            certificate = x509.load_pem_x509_certificate(str(issuer["certificate"]).encode())
            left = certificate.not_valid_after_utc.timestamp() - now
            if left < SOON_DAYS * 86400:
                when = datetime.fromtimestamp(now + left, UTC).strftime("%Y-%m-%d %H:%M UTC")
                called = certificate.subject.rfc4514_string()
                yield Finding(
                    "ends soon",
                    f"{mount}/issuer/{issuer.get('issuer_name') or issuer['issuer_id']}",
                    f"{called} ends at {when}: every certificate below it ends with it",
                    "make a new one before then: docs/vault.md, When a CA ends",
                )
        root = seen.root(authority)
        if mount == authority.root_mount and root and "DEV" in root.subject.rfc4514_string() and not authority.dev:
            called = root.subject.rfc4514_string()
            fix = "set up a root of your own: legation certs init --root MOUNT/ISSUER"
            yield Finding(
                "over-broad", mount, f"{called} is for trying things out: its key was beside the services", fix
            )


def _audit(seen: Seen, server: Server, refused: tuple[str, ...]) -> Iterator[Finding]:
    if "sys/audit" in refused or seen.at.get("sys/audit"):
        return
    file = "audit.log"
    vault = f"vault audit enable file file_path=/var/log/vault/{file}"
    bao = f'in its configuration: audit "file" "main" {{ options {{ file_path = "/var/log/openbao/{file}" }} }}'
    yield Finding(
        "missing",
        "sys/audit",
        "no audit device: who was issued what is written nowhere",
        bao if server.openbao else vault,
    )


def _set_up(seen: Seen, authority: Authority, server: Server, now: float) -> Iterator[Finding]:
    """Find what set-up would write: what it would make is missing, what it would change was opened or shut by hand."""
    fix = server.init
    try:
        steps = plan(seen, authority, now)
    except CannotSetUp as error:
        yield Finding("missing", INT_MOUNT, str(error), fix)
        return
    for step in steps:
        said = "; ".join(
            "its text is not the one that set-up writes"
            if key == "policy"
            else f"{key} is {_short(before)}, and should be {_short(after)}"
            for key, before, after in step.changes
        )
        match step.sign:
            case "+":
                yield Finding("missing", step.path, "it is not there, or not complete", fix)
            case "-":
                yield Finding(
                    "over-broad", step.path, "it is of an earlier layout, in which hosts could do too much", fix
                )
            case _:
                yield Finding("over-broad", step.path, said or "it is not as set up", fix)


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return f"{text[:57]}…" if len(text) > 58 else text


def _unseen(path: str) -> Finding:
    return Finding("unknown", path, "the token may not read it, so nothing is said of it", "use an operator's token")
