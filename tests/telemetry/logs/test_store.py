"""The store: what is asked is found, whatever it holds, and it stays within its bounds."""

import sqlite3

import pytest

from telemetry.logs.query import Query, parse
from telemetry.logs.store import Store, search
from tests.telemetry.logs.samples import TRACE, record

HOSTILE = "'; DROP TABLE records; --\"%_\\\n\r\x00\x1b[2J\u202e" + "x" * 65536


@pytest.fixture
def file(tmp_path):
    return tmp_path / "logs.sqlite"


def texts(file, **words: str) -> list[str]:
    return [found.text for found in search(file, parse(words), 5).records]


def filled(file, *records):
    store = Store(file)
    store.add(records, {})
    return store


def test_each_word_narrows_what_is_found(file):
    filled(
        file,
        record(text="a", service="web", instance="web-v1-0", time=1.0),
        record(text="b", code=503, flags="UF,URX", time=2.0),
        record(text="c Timeout", kind="app", code=None, trace=TRACE, time=3.0),
        record(text="d", grpc=14, request="r-1", fields={"path": "/Find/me"}, time=4.0),
    )
    assert texts(file) == ["a", "b", "c Timeout", "d"]
    for words, found in (
        ({"service": "web"}, "a"), ({"instance": "web-v1-0"}, "a"), ({"code": "5xx"}, "b"), ({"code": "503"}, "b"),
        ({"flag": "urx"}, "b"), ({"flag": "UF"}, "b"), ({"kind": "app"}, "c Timeout"), ({"trace": TRACE}, "c Timeout"),
        ({"text": "tIMEOUT"}, "c Timeout"), ({"text": "find/ME"}, "d"), ({"code": "unavailable"}, "d"),
        ({"request": "r-1"}, "d"), ({"since": "4"}, "d"), ({"until": "2"}, "a"), ({"limit": "1"}, "d"),
        ({"service": "orders", "since": "2", "until": "3"}, "b"),
    ):  # fmt: skip
        assert texts(file, **words) == [found], words
    assert texts(file, flag="U") == []
    assert texts(file, text="100%_") == []


def test_records_come_back_whole_whatever_they_hold(file):
    kept = record(text=HOSTILE, service=HOSTILE, flags=HOSTILE, request=HOSTILE, fields={HOSTILE: HOSTILE}, trace=TRACE)
    filled(file, kept)
    (found,) = search(file, parse({"service": HOSTILE, "text": HOSTILE[:500], "request": HOSTILE}), 5).records
    assert (found.text, found.fields, found.id) == (kept.text, kept.fields, 1)
    assert texts(file, service="' OR 1=1 --") == []


def test_who_follows_gets_each_record_once_and_in_its_order(file):
    store = filled(file, *(record(text=str(number)) for number in range(5)))
    page = search(file, parse({"after": "0", "limit": "2"}), 5)
    assert ([r.text for r in page.records], page.last) == (["0", "1"], 2)
    page = search(file, parse({"after": str(page.last)}), 5)
    assert ([r.text for r in page.records], page.last) == (["2", "3", "4"], 5)
    assert search(file, parse({"after": "5"}), 5).records == ()
    store.add([record(text="late")], {})
    assert texts(file, after="5") == ["late"]


def test_the_oldest_go_above_the_bytes_that_are_kept(file):
    store = Store(file)
    limit = 1 << 20
    for start in range(0, 6000, 500):
        store.add([record(text=f"{start + n} {'x' * 500}", time=float(start + n)) for n in range(500)], {})
        store.prune(limit, 0)
        assert store.bytes() <= limit
    found = search(file, parse({"limit": "10000"}), 5).records
    assert found[-1].text.startswith("5999 ")
    assert [r.time for r in found] == [float(n) for n in range(6000 - len(found), 6000)]
    assert 1000 < len(found) < 2000
    assert file.stat().st_size < 2 * limit


def test_a_lower_limit_gives_the_disk_its_room_back(file):
    """Someone whose disk is nearly full lowers it while the mesh runs."""
    store = filled(file, *(record(text=f"{n} {'x' * 1000}", time=float(n)) for n in range(5000)))
    store.prune(1 << 18, 0)
    on_disk = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
    assert on_disk < 1 << 19
    assert texts(file)[-1].startswith("4999 ")
    assert store.add([record(text="new")], {}) == 5001


def test_the_oldest_go_with_their_age(file):
    store = filled(file, *(record(text=str(n), time=float(n)) for n in range(10)))
    assert store.prune(1 << 30, 4.0) == 4
    assert texts(file) == ["4", "5", "6", "7", "8", "9"]
    assert store.prune(1 << 30, 100.0) == 6
    assert store.last() == 0
    assert store.add([record(text="new")], {}) == 11, "an id is never given twice"


@pytest.mark.parametrize("content", [b"this is no database, " * 100, None])
def test_a_file_that_cannot_be_used_is_put_aside(file, content):
    if content is None:
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        file.write_bytes(content)
    filled(file, record(text="new"))
    assert texts(file) == ["new"]
    assert file.with_name("logs.sqlite.broken").exists()


def test_where_files_were_read_to_is_kept_with_what_was_read(file):
    store = filled(file)
    store.add([record()], {"/a": (1, 10, 0)})
    store.add([record()], {"/a": (1, 20, 7), "/b": (2, 5, 0)})
    store.close()
    assert Store(file).places() == {"/a": (1, 20, 7), "/b": (2, 5, 0)}


def test_a_search_ends_in_time(file):
    filled(file, *(record(text="x" * 2000) for _ in range(3000)))
    slow = Query("text LIKE '%' || ? || '%y%' || ? || '%'", ("x" * 40, "x" * 40), None, 10)
    with pytest.raises(TimeoutError, match="ask for less"):
        search(file, slow, 0)


def test_before_anything_is_kept_nothing_is_found(file):
    assert search(file, parse({}), 5).records == ()


def test_what_apps_wrote_is_found_by_its_stream(file):
    filled(
        file,
        record(text="asked"),
        record(text="said", kind="app", code=None, fields={}),
        record(text="complained", kind="app", code=None, fields={"stream": "stderr"}),
    )
    assert (texts(file, stream="stdout"), texts(file, stream="stderr")) == (["said"], ["complained"])
