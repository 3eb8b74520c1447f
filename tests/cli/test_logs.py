"""`legation logs`: its words, its formats, its exit codes, and what no record can do to a terminal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import typer
from ruamel.yaml import YAML
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from legation.cli import logs
from legation.cli.output import Format
from legation.runtime.control.log_messages import LogPage, LogRecord
from legation.runtime.control.server import reply
from tests.cli.conftest import Home
from tests.support.served import served

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
BAD = LogRecord(
    id=1, time=NOW.timestamp() + 0.0421, kind="access", service="orders", instance="orders-v1-0", code=503, flags="UF",
    trace=TRACE, request="r1", text="GET orders/ 503 UF 3ms", fields={"direction": "inbound"},
)  # fmt: skip
HOSTILE = LogRecord(
    id=2, time=NOW.timestamp(), kind="app", service="", instance="", text="a\nb\x1b[2J\u202e [red]x[/red]"
)


class FakeTelemetry:
    """Answers with pages, the last one for ever, and keeps what it was asked."""

    def __init__(self, home: Home) -> None:
        self.socket = home.state().control("telemetry")
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.asked: list[dict[str, str]] = []
        self.answers: list[Response] = [reply(LogPage(records=(BAD, HOSTILE), last=2))]

    @contextmanager
    def answering(self) -> Iterator["FakeTelemetry"]:
        async def search(request: Request) -> Response:
            self.asked.append(dict(request.query_params))
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        with served(self.socket, [Route("/logs", search)]):
            yield self


def test_a_record_is_one_line_whatever_it_holds(home: Home) -> None:
    with home.host(), FakeTelemetry(home).answering():
        done = home.legation("logs")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"2026-11-28 12:00:00.042 orders-v1-0 inbound GET orders/ 503 UF 3ms trace={TRACE} request=r1",
        "2026-11-28 12:00:00.000 - app a\\nb\\x1b[2J\\u202e [red]x[/red]",
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_get_records_whole(home: Home, form: str) -> None:
    with home.host(), FakeTelemetry(home).answering():
        done = home.legation("logs", "-o", form)
    said = json.loads(done.stdout) if form == "json" else YAML(typ="safe").load(done.stdout)
    assert (done.exit_code, [r["text"] for r in said["records"]]) == (0, [BAD.text, HOSTILE.text])


def test_words_are_asked_as_they_are_given(home: Home) -> None:
    words = ("--service", "orders", "--instance", "o-1", "--code", "5xx", "--flag", "UF", "--trace", TRACE,
             "--text", "a&b", "--request", "r", "--kind", "access", "-n", "7")  # fmt: skip
    with home.host(), FakeTelemetry(home).answering() as telemetry:
        assert home.legation("logs", *words, "--since", "2026-11-28T12:00:00Z", "--until", "1h").exit_code == 0
        (asked,) = telemetry.asked
    until = float(asked.pop("until"))
    assert abs(datetime.now(UTC).timestamp() - 3600 - until) < 60
    assert asked == {
        "service": "orders", "instance": "o-1", "code": "5xx", "flag": "UF", "trace": TRACE, "text": "a&b",
        "request": "r", "kind": "access", "limit": "7", "since": str(NOW.timestamp()),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", -900), ("12:30", 1800), ("11:59:30", -30), ("2026-11-28T12:00:01Z", 1), ("2026-11-28T14:00:00+02:00", 0)],
)
def test_a_time_is_said_in_several_ways(text: str, seconds: float) -> None:
    assert logs.moment("--since", text, NOW) - NOW.timestamp() == seconds


@pytest.mark.parametrize("text", ["yesterday", "25:00", "15 m", ""])
def test_what_is_no_time_is_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        logs.moment("--since", text, NOW)
    assert left.value.exit_code == 2
    assert f"--since {text!r}: a time ago such as 15m or 2h" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [(400, 2), (404, 2), (504, 5), (500, 4)])
def test_what_telemetry_cannot_answer_is_an_exit_code(home: Home, status: int, code: int) -> None:
    telemetry = FakeTelemetry(home)
    telemetry.answers = [PlainTextResponse("code 'x': a status such as 503\n", status)]
    with home.host(), telemetry.answering():
        done = home.legation("logs", "--code", "x")
    assert (done.exit_code, "a status such as 503" in done.stderr) == (code, True)


def test_without_telemetry_it_says_where_to_look(home: Home) -> None:
    with home.host():
        done = home.legation("logs")
    assert (done.exit_code, "legation status says why" in done.stderr) == (4, True)
    assert home.legation("logs").exit_code == 4


def test_nothing_found_is_said_beside_the_data(home: Home) -> None:
    telemetry = FakeTelemetry(home)
    telemetry.answers = [reply(LogPage(records=(), last=0))]
    with home.host(), telemetry.answering():
        done = home.legation("logs")
    assert (done.exit_code, done.stdout, "nothing that was logged fits" in done.stderr) == (0, "", True)


@pytest.mark.parametrize("form", list(Format))
def test_who_follows_gets_what_comes(home: Home, form: Format) -> None:
    """Through a telemetry that is away for a while, from where it was."""
    telemetry = FakeTelemetry(home)
    empty = reply(LogPage(records=(), last=2))
    away = [PlainTextResponse("away", 503)] * logs._PATIENCE
    end = PlainTextResponse("the test is over", 400)
    telemetry.answers = [
        reply(LogPage(records=(BAD,), last=2)),
        empty,
        *away,
        reply(LogPage(records=(HOSTILE,), last=3)),
        end,
    ]
    with home.host(), telemetry.answering():
        done = home.legation("logs", "--follow", "-o", form.value, "--service", "orders")
    assert (done.exit_code, "asking again" in done.stderr) == (2, True)
    if form is Format.TABLE:
        assert [line.split()[2] for line in done.stdout.splitlines()] == ["orders-v1-0", "-"]
    elif form is Format.JSON:
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]
    else:
        assert [record["id"] for record in YAML(typ="safe").load_all(done.stdout)] == [1, 2]
    assert [(a.get("after"), a["service"]) for a in telemetry.asked[:3]] == [
        (None, "orders"),
        ("2", "orders"),
        ("2", "orders"),
    ]
    assert telemetry.asked[-1]["after"] == "3"
