"""What apps write is read once and whole, whatever becomes of the file."""

import pytest

from legation.runtime.process import bound
from telemetry.logs.tail import LONGEST_LINE, Tail


class Apps:
    def __init__(self, folder) -> None:
        self.folder, self.file = folder, folder / "web-v1-0" / "app.log"
        self.file.parent.mkdir()
        self.tail = self.fresh()

    def fresh(self) -> Tail:
        return Tail(self.folder, lambda instance: ("web", instance, "v1"))

    def say(self, text: bytes) -> None:
        with self.file.open("ab") as log:
            log.write(text)

    def read(self) -> list[str]:
        records, places = self.tail.read(1000.0)
        self.tail.done(places)
        assert all((r.service, r.instance, r.kind) == ("web", "web-v1-0", "app") for r in records)
        return [r.text for r in records]


@pytest.fixture
def apps(tmp_path):
    return Apps(tmp_path)


def test_lines_are_read_once_when_they_have_ended(apps):
    assert apps.read() == []
    apps.say(b"one\ntwo\nthr")
    assert apps.read() == ["one", "two"]
    apps.say(b"ee\n\n")
    assert apps.read() == ["three"]
    assert apps.read() == []


def test_what_is_not_kept_is_read_again(apps):
    apps.say(b"one\n")
    for _ in range(2):
        records, places = apps.tail.read(1000.0)
        assert [r.text for r in records] == ["one"]
    apps.tail.done(places)
    assert apps.read() == []
    again = apps.fresh()
    again.done(places)
    apps.say(b"two\n")
    assert [r.text for r in again.read(1000.0)[0]] == ["two"]


def test_nothing_is_lost_when_a_file_is_cut(apps):
    apps.say(b"one\n")
    assert apps.read() == ["one"]
    apps.say(b"two\n" * 100)
    bound(apps.file, 10)
    apps.say(b"three\n")
    assert apps.read() == ["two"] * 100 + ["three"]


def test_a_line_without_end_is_taken_when_it_is_long(apps):
    apps.say(b"x" * (LONGEST_LINE + 5))
    (text,) = apps.read()
    assert text.startswith("xxx")
    apps.say(b"y\nnext\n")
    assert apps.read() == ["y", "next"]


def test_an_app_that_is_gone_leaves_its_last_words(apps):
    apps.say(b"dying\n")
    apps.read()
    apps.file.unlink()
    assert apps.read() == []
    apps.say(b"back\n")
    assert apps.read() == ["back"]


def test_what_goes_to_stderr_says_so(apps):
    apps.say(b"said\n")
    apps.file.with_name("app.stderr.log").write_bytes(b"complained\n")
    records, places = apps.tail.read(1000.0)
    assert [(r.text, r.fields) for r in records] == [("said", {}), ("complained", {"stream": "stderr"})]
    apps.tail.done(places)
    assert apps.read() == []
