"""The certificates of a running host: shown, rotated, revoked, and their ledger checked."""

import asyncio
import getpass
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography import x509
from rich.table import Table

from certmgr import ledger
from certmgr.core.crl import normal
from certmgr.core.ledger import Tampered
from legation.cli.find import ask_status
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import (
    CertificateMessage,
    CertmgrStatus,
    Identity,
    RevokeReport,
    RevokeRequest,
)
from legation.runtime.state import StateFolder

T = TypeVar("T")

_LIMIT = 60.0
"""Seconds for an order that waits for Vault."""


def show_all(state: StateFolder, form: Format) -> Exit:
    """Show every certificate of this host."""
    status = _ask(_client(state).get("/status", CertmgrStatus))
    if form is not Format.TABLE:
        write(status, form)
    else:
        _table(status)
    return Exit.FINDINGS if any(i.error for i in status.identities) or not status.ready else Exit.OK


def show(state: StateFolder, name: str, form: Format) -> Exit:
    """Show one certificate."""
    found = _ask(_client(state).get(f"/identities/{name}/chain", CertificateMessage))
    if form is not Format.TABLE:
        write(found, form)
        return Exit.OK
    for certificate in x509.load_pem_x509_certificates(found.chain.encode()):
        _describe(certificate)
    return Exit.OK


def chain(state: StateFolder, name: str) -> Exit:
    """Write a chain as PEM."""
    sys.stdout.write(_ask(_client(state).get(f"/identities/{name}/chain", CertificateMessage)).chain)
    return Exit.OK


def rotate(state: StateFolder, names: tuple[str, ...], *, every: bool) -> Exit:
    """Issue new certificates now, one after the other; say of each what came of it."""
    status = _ask(_client(state).get("/status", CertmgrStatus))
    known = {identity.name: identity for identity in status.identities}
    chosen = tuple(known) if every else names
    if not chosen:
        raise fail(Exit.USAGE, "name the services whose certificates are to be rotated, or say --all")
    if unknown := [name for name in chosen if name not in known]:
        raise fail(Exit.USAGE, f"no identity {', '.join(unknown)} on this host: there are {', '.join(known)}")
    failed = False
    for name in chosen:
        after = _ask(_client(state).send("POST", f"/identities/{name}/renew", None, Identity, limit=_LIMIT))
        rotated = after.serial != known[name].serial
        failed = failed or not rotated
        chatter(f"{name}: {'now ' + str(after.serial) if rotated else after.error or 'not rotated'}")
    return Exit.FINDINGS if failed else Exit.OK


def revoke(state: StateFolder, what: str, form: Format, *, shut_out: bool, wait: float) -> Exit:
    """Revoke the certificates of a service, of an instance, or one serial."""
    identity, serial = _meant(state, what)
    wish = RevokeRequest(identity=identity, serial=serial, shut_out=shut_out, wait=wait, by=getpass.getuser())
    report = _ask(_client(state).send("POST", "/revoke", wish, RevokeReport, limit=_LIMIT + wait))
    if form is not Format.TABLE:
        write(report, form)
    for gone in report.serials:
        chatter(f"revoked {gone}")
    for name in report.renewed:
        chatter(f"{name} goes on with a new certificate")
    for instance in report.withdrawn:
        chatter(f"nobody calls {instance} any more, and its proxy is told nothing")
    late = [proxy for proxy in report.proxies if proxy.acknowledged < proxy.streams]
    for proxy in late:
        chatter(f"proxies of {proxy.name}: {proxy.acknowledged} of {proxy.streams} streams have taken it")
    if report.unsynced:
        chatter(f"open connections may still be served by: {', '.join(report.unsynced)}")
    if not late and not report.unsynced:
        chatter(f"all proxies of this host know, {report.seconds:.1f} s after it was asked for")
    return Exit.TIMEOUT if late or report.unsynced else Exit.OK


def verify(state: StateFolder) -> Exit:
    """Check the ledger, and those that were put aside."""
    broken = sorted(state.certmgr.glob("ledger.broken-*.jsonl"))
    for path in broken:
        chatter(f"{path} was tampered with, and put aside when that was seen")
    path = state.certmgr / "ledger.jsonl"
    try:
        tip = ledger.verify([path])
    except FileNotFoundError:
        raise fail(Exit.USAGE, f"there is no ledger at {path}: nothing was issued here yet") from None
    except (Tampered, UnicodeDecodeError) as error:
        chatter(f"{path}: {error}")
        return Exit.FINDINGS
    chatter(f"{path}: {tip.lines} lines, each follows the one before; the last hash is")
    sys.stdout.write(f"{tip.hash}\n")
    return Exit.FINDINGS if broken else Exit.OK


def _meant(state: StateFolder, what: str) -> tuple[str, str]:
    """Return the identity or the serial that a word means. An instance has its service's certificate of this host."""
    status = _ask(_client(state).get("/status", CertmgrStatus))
    if any(identity.name == what for identity in status.identities):
        return what, ""
    if normal(what) is not None and len(what) > 15:
        return "", what
    try:
        host = ask_status(state)
    except ControlError:
        host = None
    for instance in () if host is None else (i for s in host.services for i in s.instances):
        if instance.id == what and instance.certificate_serial is not None:
            chatter(
                f"{what} has the certificate {instance.certificate_serial}, as has every instance of it on this host"
            )
            return "", instance.certificate_serial
    names = ", ".join(identity.name for identity in status.identities)
    raise fail(Exit.USAGE, f"{what!r} is no service ({names}), no instance and no serial of this host")


def _client(state: StateFolder) -> ControlClient:
    return ControlClient(state.control("certmgr"))


def _ask(work: Coroutine[Any, Any, T]) -> T:
    """Return an answer of certmgr; leaves with its own words where it says no, and with 4 where it is away."""
    try:
        return asyncio.run(work)
    except ControlError as error:
        code = {404: Exit.USAGE, 409: Exit.USAGE, 504: Exit.TIMEOUT}.get(error.status, Exit.UNREACHABLE)
        raise fail(code, error.text) from error


def _table(status: CertmgrStatus) -> None:
    now = time.time()
    table = Table("identity", "serial", "ends in", "renewed in", "SDS streams", "", box=None, header_style="bold")
    for one in status.identities:
        ends, due = (None if at is None else at - now for at in (one.not_after, one.renew_at))
        table.add_row(one.name, one.serial or "-", _span(ends), _span(due), str(one.streams), one.error or "")
    console().print(table)
    left = status.seconds_to_outage
    chatter(f"Vault is {status.vault}; without it the first request fails in {_span(left)}")
    if status.crl_ends is not None:
        chatter(f"{len(status.revoked)} revoked; that list ends in {_span(status.crl_ends - now)}")
    if status.rollover:
        chatter(status.rollover)
    if status.problem:
        chatter(status.problem)


def _span(seconds: float | None) -> str:
    if seconds is None or seconds == float("inf"):
        return "-"
    if seconds <= 0:
        return "0s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}h{rest // 60:02}m" if hours else f"{rest // 60}m{rest % 60:02}s"


def _describe(certificate: x509.Certificate) -> None:
    """Say what one certificate of a chain is."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        called = ", ".join(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        called = certificate.subject.rfc4514_string()
    lines = {
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": normal(f"{certificate.serial_number:x}"),
        "from": _moment(certificate.not_valid_before_utc),
        "until": _moment(certificate.not_valid_after_utc),
    }
    console().print(called, markup=False, style="bold")
    for key, value in lines.items():
        console().print(f"  {key:7}{value}", markup=False)


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
