"""The ledger: every tampering breaks the chain, a crash does not, and it holds no secret."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certmgr.core.ledger import GENESIS, Record, Tampered, Tip, line, read, tip_of
from certmgr.ledger import Ledger, verify

NOW = 1_800_000_000.0
ISSUE = Record("issue", NOW, "web", "0a", "req-1", NOW + 600, "ab" * 32, "PEM")


def chain(count: int) -> list[str]:
    lines, tip = [], Tip()
    for number in range(count):
        text, tip = line(replace(ISSUE, serial=f"{number:02x}"), tip)
        lines.append(text)
    return lines


def test_records_come_back_in_order():
    found = list(read(chain(3)))
    assert ["00", "01", "02"] == [record.serial for record, _ in found]
    assert tip_of(chain(3)) == found[-1][1]
    assert tip_of([]) == Tip(0, GENESIS)


@given(st.integers(2, 6), st.data())
def test_whatever_is_done_to_a_line_breaks_the_chain(count, data):
    lines = chain(count)
    where = data.draw(st.integers(0, count - 2))
    how = data.draw(st.sampled_from(["change", "drop", "repeat", "swap", "garbage", "rehash"]))
    body = json.loads(lines[where])
    match how:
        case "change":
            lines[where] = json.dumps({**body, "serial": "ff"})
        case "drop":
            del lines[where]
        case "repeat":
            lines.insert(where, lines[where])
        case "swap":
            lines[where], lines[where + 1] = lines[where + 1], lines[where]
        case "garbage":
            lines[where] = data.draw(st.sampled_from(["", "{}", "[]", "null", "{"]))
        case "rehash":
            lines[where] = line(replace(ISSUE, serial="ff"), Tip(where, body["previous"]))[0]
    with pytest.raises(Tampered, match="line "):
        tip_of(lines)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.open(NOW) is None
    return ledger


def test_what_was_issued_can_be_found_until_it_ends(ledger):
    ledger.add(ISSUE)
    ledger.add(replace(ISSUE, serial="0b"))
    ledger.add(replace(ISSUE, what="revoke", serial="0b", certificate=""))
    assert [ISSUE] == list(ledger.live(NOW))
    again = Ledger(ledger.path)
    assert again.open(NOW) is None
    assert [ISSUE] == list(again.live(NOW))
    assert again.revoked(NOW) == {"0b"}
    assert () == again.live(NOW + 601)
    again.add(replace(ISSUE, serial="0c"))
    assert verify([ledger.path]).lines == 4
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_line_that_a_crash_cut_is_dropped(ledger):
    for serial in ("0a", "0b"):
        ledger.add(replace(ISSUE, serial=serial))
    whole = ledger.path.read_bytes()
    for cut in (1, 40, len(whole) // 2 - 1):
        ledger.path.write_bytes(whole[:-cut])
        again = Ledger(ledger.path)
        assert again.open(NOW) is None
        again.add(replace(ISSUE, serial="0c"))
        assert verify([ledger.path]).lines == 2


def test_changed_ledger_is_said_kept_and_begun_anew(ledger):
    ledger.add(ISSUE)
    ledger.add(replace(ISSUE, serial="0b"))
    ledger.path.write_text(ledger.path.read_text().replace('"web"', '"orders"', 1))
    again = Ledger(ledger.path)
    problem = again.open(NOW)
    assert problem is not None
    assert "line 1 was changed" in problem
    assert [f"ledger.broken-{int(NOW)}.jsonl"] == [path.name for path in ledger.path.parent.iterdir()]
    again.add(ISSUE)
    assert verify([ledger.path]).lines == 1


def test_attack_28_full_disk_takes_no_half_line(ledger, monkeypatch):
    ledger.add(ISSUE)
    before = ledger.path.read_bytes()
    import os

    real = os.write

    def full(descriptor, data):
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.add(replace(ISSUE, serial="0b"))
    monkeypatch.undo()
    assert before == ledger.path.read_bytes()
    ledger.add(replace(ISSUE, serial="0c"))
    assert verify([ledger.path]).lines == 2


def test_a_ledger_that_is_removed_while_it_is_written_goes_on_without_a_beginning(tmp_path):
    """So that the next start says it."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.open(NOW)
    ledger.add(ISSUE)
    (tmp_path / "ledger.jsonl").unlink()
    ledger.add(replace(ISSUE, serial="0b"))
    ledger.add(replace(ISSUE, serial="0c"))
    assert "0c" in (tmp_path / "ledger.jsonl").read_text()
    assert Ledger(tmp_path / "ledger.jsonl").open(NOW) is not None
