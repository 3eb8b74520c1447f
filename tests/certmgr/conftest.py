"""One OpenBao for all tests of the CA's set-up and of signing; tests that hurt it start their own."""

import time
from collections.abc import Iterator

import pytest
from cryptography import x509

from certmgr import openbao
from certmgr.core.plan import Wanted
from certmgr.issue.setup import Authority, Setup
from certmgr.issue.vault import AppRole
from tests.certmgr.bao import Bao

AUTHORITY = Authority("shop", "shop.local")
ORDERS = Wanted("orders", "spiffe://shop.local/orders", 60)
WEB = Wanted("web", "spiffe://shop.local/web", 60)


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    folder = tmp_path_factory.mktemp("bao")
    server = Bao(folder / "openbao", folder / "bao.sock")
    server.start()
    openbao.used_mark(server.folder).touch()
    yield server.wait()
    server.kill()


class Ca:
    """A CA that is set up for orders and web, and the credentials of both."""

    def __init__(self, bao: Bao) -> None:
        self.bao, self.vault = bao, bao.vault
        setup = Setup(bao.vault, bao.operator())
        self.root: x509.Certificate = setup.run(AUTHORITY, (ORDERS, WEB), time.time())
        self.given: dict[str, AppRole] = {name: setup.deliver(name) for name in ("orders", "web")}

    def setup(self, *wanted: Wanted) -> list[str]:
        setup = Setup(self.vault, self.bao.operator())
        setup.run(AUTHORITY, wanted or (ORDERS, WEB), time.time())
        return setup.changes


@pytest.fixture
def ca(bao: Bao) -> Ca:
    return Ca(bao)
