"""What `legation certs` says of a certmgr's answers, and where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.runtime.control.messages import CertificateMessage, CertmgrStatus, Identity, ProxyReport, RevokeReport
from legation.runtime.control.server import reply
from legation.runtime.state import StateFolder
from tests.support.command import legation
from tests.support.served import served

HAVE_IT = ProxyReport(name="web", streams=2, acknowledged=2)
REPORTS = {
    "known": RevokeReport(serials=("0a",), renewed=("web",), proxies=(HAVE_IT,)),
    "late": RevokeReport(
        serials=("0a",),
        proxies=(ProxyReport(name="web", streams=2, acknowledged=1),),
        unsynced=("orders-v1-0",),
        withdrawn=("web-v1-0",),
    ),
}


@pytest.fixture(params=REPORTS)
def answering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, StateFolder]]:
    """A certmgr that answers a revocation with one report, in a loop of its own."""
    state = StateFolder(tmp_path)
    state.make()
    identity = Identity(name="web", spiffe_id="spiffe://shop.local/web", serial="0a", not_after=1.0)
    status = CertmgrStatus(pid=1, ready=True, vault="ok", seconds_to_outage=0.0, identities=(identity,))

    async def revoke(asked: Request) -> Response:
        await asked.body()
        return reply(REPORTS[request.param])

    async def tell(_: Request) -> Response:
        return reply(status)

    async def chain(_: Request) -> Response:
        return reply(CertificateMessage(name="web", chain="PEM"))

    routes = [
        Route("/status", tell),
        Route("/revoke", revoke, methods=["POST"]),
        Route("/identities/web/chain", chain),
    ]
    with served(state.control("certmgr"), routes):
        yield request.param, state


def test_a_revocation_says_who_knows_and_whom_nobody_calls(answering: tuple[str, StateFolder]) -> None:
    which, state = answering
    where = ("--state", str(state.root))
    done = legation("certs", "revoke", "web", *where)
    if which == "known":
        assert done.returncode == 0
        assert "all proxies of this host know" in done.stderr
    else:
        assert done.returncode == 5
        assert "nobody calls web-v1-0 any more" in done.stderr
        assert "proxies of web: 1 of 2 streams have taken it" in done.stderr
        assert "open connections may still be served by: orders-v1-0" in done.stderr
    assert '"chain": "PEM"' in legation("certs", "show", "web", "-o", "json", *where).stdout
    assert "0s" in legation("certs", "list", *where).stdout


def test_a_ledger_that_is_not_there_or_was_put_aside_is_said(tmp_path: Path) -> None:
    (tmp_path / "certmgr").mkdir()
    (tmp_path / "certmgr" / "ledger.broken-1.jsonl").touch()
    done = legation("certs", "audit", "verify", "--state", str(tmp_path))
    assert done.returncode == 2
    assert "was tampered with, and put aside" in done.stderr
    assert "nothing was issued here yet" in done.stderr


def test_limits_of_a_mesh_are_rendered_for_ratelimit(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("mesh: a\ntrust_domain: a.local\nservices: {web: {protocol: http, port: 80}}\n")
    done = legation("render", "ratelimit", "out", "-f", "mesh.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing is counted" in done.stderr
    assert (tmp_path / "out" / "config" / "limits.yaml").exists()
