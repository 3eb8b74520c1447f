"""certmgr's state on disk: one file a thing, written whole or not at all, readable by this user alone.

lock                     held (flock) while a certmgr runs on the folder
root.pem                 the root that this host trusts, pinned when it was first seen; two during a roll-over
host-id                  what tells this host from others of the same name
mesh.yaml                the last mesh, so that certmgr can start alone
mesh-folder              where its file is, from which other files are named
sites/<service>.json     the last certificate and key that the operator's files held for the gateway
identities/<name>.pem    key, leaf, intermediate and root of one identity, together: never a mixed pair
approle/<name>.json      what the identity's signer logs in with
shut-out/<name>          there while the identity is revoked and not to be renewed
ledger.jsonl             what was issued and revoked here, each line with the hash of the one before
crl.pem                  the list of revoked certificates that was shown last
enrol.json               what the host logs in with: made in the embedded OpenBao, or unwrapped
embedded                 which embedded OpenBaos `legation up` is to run (certmgr/generations.py)
vaults/                  other Vaults than that of the settings (certmgr/vaults.py)
"""

import errno
import fcntl
import json
import os
import pwd
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.bundle import Bundle, Damaged, parse, render
from certmgr.core.layout import kind_of
from certmgr.issue.vault import AppRole
from legation.mesh.edge_files import KeyPair

_OTHERS = 0o077
"""Mode bits that let anybody but the owner in."""


class Locked(Exception):
    """Another certmgr runs on the same folder."""


class Store:
    """The state below one folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when it is locked."""
        self.folder = folder
        self._roots: tuple[tuple[int, int, int], tuple[x509.Certificate, ...]] = (0, 0, 0), ()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder while the block runs; Locked when another process does. The kernel lets go for the dead."""
        for part in ("", "identities", "approle", "shut-out", "sites"):
            folder = self.folder / part
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Locked(f"another certmgr runs on {self.folder}: stop it first, or use another folder") from None
        finally:
            os.close(descriptor)

    def bundle(self, name: str) -> Bundle | None:
        """Return an identity's bundle; None when there is none, Damaged when it cannot be used."""
        content = read(self._bundle(name))
        return None if content is None else parse(content)

    def save_bundle(self, name: str, bundle: Bundle) -> None:
        """Keep an identity's bundle. After a power cut it may be gone, or damaged: then it is issued anew."""
        write(self._bundle(name), render(bundle), durable=False)

    def credentials(self, name: str) -> AppRole | None:
        """Return what an identity's signer logs in with; None when there is nothing usable."""
        try:
            found = app_role(self._credentials(name))
        except Damaged:
            return None
        return found if found is not None and found.mount == kind_of(name).auth else None

    def save_credentials(self, name: str, credentials: AppRole) -> None:
        """Keep what an identity's signer logs in with."""
        known = {"role_id": credentials.role_id, "secret_id": credentials.secret_id, "mount": credentials.mount}
        write(self._credentials(name), json.dumps(known).encode())

    def enrolled(self) -> tuple[str, ...]:
        """Return the identities that there are credentials of."""
        return tuple(sorted(path.stem for path in (self.folder / "approle").glob("*.json")))

    def forget(self, name: str) -> None:
        """Remove all that is kept of an identity."""
        for path in (self._bundle(name), self._credentials(name)):
            path.unlink(missing_ok=True)

    def forget_credentials(self, name: str) -> None:
        """Remove what an identity's signer logs in with."""
        self._credentials(name).unlink(missing_ok=True)

    def shut_out(self, name: str) -> None:
        """Remember that an identity is not to be renewed."""
        write(self.folder / "shut-out" / name, b"")

    def is_shut_out(self, name: str) -> bool:
        """Say whether an identity is not to be renewed."""
        return (self.folder / "shut-out" / name).exists()

    def let_in(self, name: str) -> None:
        """Forget that an identity is not to be renewed."""
        (self.folder / "shut-out" / name).unlink(missing_ok=True)

    def discard_bundle(self, name: str) -> None:
        """Remove a bundle that cannot be used."""
        self._bundle(name).unlink(missing_ok=True)

    def begin_anew(self) -> None:
        """Forget every identity and the roots, which come last: while they are there, this is to be done again."""
        for part in ("identities", "approle"):
            for path in (self.folder / part).iterdir():
                path.unlink()
        (self.folder / "crl.pem").unlink(missing_ok=True)
        self.root_file.unlink(missing_ok=True)

    @property
    def host_file(self) -> Path:
        """Where the host's own AppRole is, when the embedded OpenBao made it."""
        return self.folder / "enrol.json"

    @property
    def root_file(self) -> Path:
        """Where the roots are that are trusted."""
        return self.folder / "root.pem"

    def roots(self) -> tuple[x509.Certificate, ...]:
        """Return the roots that this host trusts; during a roll-over there are two. Damaged when one is no root."""
        try:
            there = self.root_file.stat()
        except FileNotFoundError:
            return ()
        version = there.st_ino, there.st_mtime_ns, there.st_size
        if self._roots[0] != version:
            self._roots = version, self._read_roots()
        return self._roots[1]

    def _read_roots(self) -> tuple[x509.Certificate, ...]:
        try:
            return tuple(x509.load_pem_x509_certificates(self.root_file.read_bytes()))
        except ValueError:
            raise Damaged(f"{self.root_file} is no certificate: put the root that you trust there, in PEM") from None

    def trust(self, roots: Sequence[x509.Certificate]) -> None:
        """Trust these roots from now on, and no other."""
        write(self.root_file, b"".join(root.public_bytes(Encoding.PEM) for root in roots))

    @property
    def host_id(self) -> str:
        """What tells this host from others of the same name: made once."""
        path = self.folder / "host-id"
        if not path.exists():
            write(path, secrets.token_hex(3).encode())
        return path.read_text()

    def mesh(self) -> str | None:
        """Return the text of the last mesh; None when there was none."""
        path = self.folder / "mesh.yaml"
        return path.read_text() if path.exists() else None

    def mesh_folder(self) -> Path | None:
        """Return where the last mesh's file is; None when that is not known."""
        path = self.folder / "mesh-folder"
        return Path(path.read_text()) if path.exists() else None

    def save_mesh(self, text: str, folder: Path | None = None) -> None:
        """Keep the text of a mesh, and where its file is."""
        if folder is not None:
            write(self.folder / "mesh-folder", str(folder).encode())
        write(self.folder / "mesh.yaml", text.encode())

    def site(self, service: str) -> KeyPair | None:
        """Return the last certificate of a service for the gateway; None when there was none."""
        content = read(self._site(service))
        try:
            return None if content is None else msgspec.json.decode(content, type=KeyPair)
        except msgspec.DecodeError:
            raise Damaged(f"{self._site(service)} is not as it was written") from None

    def save_site(self, service: str, pair: KeyPair) -> None:
        """Keep the certificate of a service for the gateway."""
        write(self._site(service), msgspec.json.encode(pair))

    def forget_site(self, service: str) -> None:
        """Remove the certificate of a service for the gateway."""
        self._site(service).unlink(missing_ok=True)

    def _site(self, service: str) -> Path:
        return self.folder / "sites" / f"{service}.json"

    def _bundle(self, name: str) -> Path:
        return self.folder / "identities" / f"{name}.pem"

    def _credentials(self, name: str) -> Path:
        return self.folder / "approle" / f"{name}.json"


def app_role(path: Path) -> AppRole | None:
    """Return the AppRole in a JSON file (`role_id`, `secret_id`); None without a file, Damaged when it is bad."""
    content = read(path)
    if content is None:
        return None
    try:
        known = json.loads(content)
        return AppRole(str(known["role_id"]), str(known["secret_id"]), str(known.get("mount", "approle")))
    except (ValueError, KeyError, TypeError, AttributeError):
        # without the cause: it could quote the file
        raise Damaged(f"{path} does not hold a role_id and a secret_id, as JSON") from None


def read(path: Path) -> bytes | None:
    """Return a secret file's content; None when there is none, Damaged when others may have read or written it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path} cannot be opened: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise Damaged(
                f"{path} belongs to {_user(found.st_uid)}, and certmgr runs as {_user(os.geteuid())}: "
                "what another user can write is not trusted; remove it, or chown it"
            )
        if found.st_mode & _OTHERS:
            raise Damaged(f"{path} is open to other users (mode {found.st_mode & 0o777:04o}): chmod it to 0600")
        return file.read()


def _user(uid: int) -> str:
    """Return what people call a user."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file in one step, mode 0600: whenever we die, it holds the old content or the new (rename(2)).

    `durable`: when this returns, the machine may die too.
    """
    temporary = f"{path.parent}/.{path.name}.new"
    descriptor = _made(temporary)
    try:
        if os.write(descriptor, content) != len(content):  # it took a part: another write would say so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)  # noqa: PTH105 - each issue comes by here
    if durable:
        sync_folder(path.parent)


def _made(path: str) -> int:
    """Return the descriptor of a new file; one that a killed process left in its place is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108
        return os.open(path, flags, 0o600)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
