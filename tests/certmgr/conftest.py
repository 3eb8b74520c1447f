"""One OpenBao for all tests of the CA's set-up and of signing; tests that hurt it start their own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from certmgr.core.plan import IdentitySpec
from certmgr.issue.setup import Authority, Enroller, Setup
from certmgr.issue.vault import AppRole, Token, pick
from tests.certmgr.bao import Bao, initialise

AUTHORITY = Authority("shop", "shop.local", dev=True)
ORDERS = IdentitySpec("orders", "spiffe://shop.local/orders", 60)
WEB = IdentitySpec("web", "spiffe://shop.local/web", 60)


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an OpenBao that has initialised itself: most of a new one's start is that."""
    return initialise(tmp_path_factory.mktemp("seed"))


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory, seed: Path) -> Iterator[Bao]:
    folder = tmp_path_factory.mktemp("bao")
    server = Bao(folder / "openbao", folder / "bao.sock", seed)
    server.start()
    yield server.wait()
    server.kill()


class Ca:
    """A CA that is set up, the host's own credential, and those of orders and web."""

    def __init__(self, bao: Bao) -> None:
        self.bao, self.vault = bao, bao.vault
        setup = Setup(bao.vault, bao.operator())
        self.root: x509.Certificate = setup.run(AUTHORITY, time.time())
        role_id, wrapped = setup.host_credentials()
        self.host = AppRole(role_id, pick(bao.vault.unwrap(wrapped), "secret_id"))
        self.given: dict[str, AppRole] = {name: self.enroller().deliver(name) for name in ("orders", "web")}

    def setup(self) -> list[str]:
        setup = Setup(self.vault, self.bao.operator())
        setup.run(AUTHORITY, time.time())
        return setup.changes

    def resident(self) -> Token:
        """What runs all the time on a host has this, and no more."""
        return self.vault.login(self.host)

    def enroller(self) -> Enroller:
        return Enroller(self.vault, self.resident())


@pytest.fixture
def ca(bao: Bao) -> Ca:
    return Ca(bao)
