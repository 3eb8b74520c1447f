"""`legation certs timeline`: a ledger as people read it; no certmgr runs."""

import json
from pathlib import Path

import pytest

from certmgr.core.ledger import Record
from certmgr.ledger import Ledger
from tests.support.command import legation

NOON = 1_800_000_000.0
RECORDS = (
    Record("issue", NOON, "web", "0a", "r-1", not_after=NOON + 600),
    Record("issue", NOON + 1, "orders", "0b", "r-2", not_after=NOON + 600),
    Record("revoke", NOON + 2, "web", "0a", "r-3", not_after=NOON + 600, by="ann"),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "certmgr").mkdir()
    ledger = Ledger(tmp_path / "certmgr" / "ledger.jsonl")
    for record in RECORDS:
        ledger.add(record)
    return tmp_path


def ask(state: Path, *words: str):
    return legation("certs", "timeline", *words, "--state", str(state))


def test_all_of_it_oldest_first(state: Path) -> None:
    done = ask(state)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert lines == [
        ["2027-01-15T08:00:00Z", "issued", "web", "0a", "2027-01-15T08:10:00Z", "-"],
        ["2027-01-15T08:00:01Z", "issued", "orders", "0b", "2027-01-15T08:10:00Z", "-"],
        ["2027-01-15T08:00:02Z", "revoked", "web", "0a", "2027-01-15T08:10:00Z", "ann"],
    ]


@pytest.mark.parametrize(("which", "found"), [("web", ["r-1", "r-3"]), ("0B", ["r-2"]), ("nobody", [])])
def test_of_one_identity_or_serial(state: Path, which: str, found: list[str]) -> None:
    done = ask(state, which, "-o", "json")
    assert [event["request_id"] for event in json.loads(done.stdout)["events"]] == found
    assert (f"nothing is known of {which} here" in done.stderr) == (not found)


def test_a_changed_ledger_is_believed_up_to_there(state: Path) -> None:
    path = state / "certmgr" / "ledger.jsonl"
    path.write_text(path.read_text().replace("orders", "others"))
    done = ask(state)
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 2
    assert "line 2 was changed" in done.stderr


def test_no_ledger_is_said(tmp_path: Path) -> None:
    done = ask(tmp_path)
    assert done.returncode == 2
    assert "nothing was issued here yet" in done.stderr
