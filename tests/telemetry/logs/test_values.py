"""What is understood of lines, of batches and of questions, and what is kept when there is too much."""

from datetime import datetime

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from legation.mesh.logged import LETTERS, NAMES, SAID
from telemetry.logs import line, otlp
from telemetry.logs.budget import Budget, has_failed
from telemetry.logs.query import BadQuery, code, parse
from telemetry.logs.sampling import is_kept, sampled
from telemetry.logs.shorten import LONGEST, shorten
from tests.telemetry.logs.samples import TRACE, record
from xds_server.compile.access_log import _CARRIED, _FIELDS

NOW = datetime.fromisoformat("2026-11-28T12:00:00Z").timestamp()


def of_app(text: bytes) -> tuple[float, str, str]:
    found = line.record(text, service="orders", instance="orders-v1-0", version="v1", now=NOW)
    assert (found.kind, found.service, found.instance, found.version) == ("app", "orders", "orders-v1-0", "v1")
    return found.time - NOW, found.trace, found.text


@pytest.mark.parametrize(
    "text",
    [
        f'{{"msg":"paid","trace_id":"{TRACE}"}}',
        f'{{"msg":"paid","traceId": "{TRACE.upper()}"}}',
        f"paid trace_id={TRACE} in 3 ms",
        f"paid trace.id: {TRACE}",
        f"traceparent: 00-{TRACE}-b7ad6b7169203331-01",
    ],
)
def test_a_line_says_of_which_trace_it_is(text):
    assert of_app(text.encode()) == (0, TRACE, text)


@pytest.mark.parametrize("text", ["", "no trace", f"trace_id={'0' * 32}", f"id={TRACE}", f"trace_id={TRACE}0"])
def test_a_line_without_a_trace_has_none(text):
    assert of_app(text.encode())[1] == ""


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ('{"time":"2026-11-28T12:00:01.500Z"}', 1.5),
        ('{"timestamp":"2026-11-28T14:00:02+02:00"}', 2),
        (f'{{"time":{int(NOW * 1000) + 250}}}', 0.25),
        (f'{{"ts":{NOW + 3}}}', 3),
        ("2026-11-28T11:59:59Z it begins", -1),
        ("2020-01-01T00:00:00Z long ago", 0),
        ('{"time":"2026-13-77T99:00:00Z"}', 0),
        ('{"time":true}', 0),
        ('{"time":[]}', 0),
        ("{no JSON", 0),
        ("{" * 5000, 0),
        ('{"other":1}', 0),
    ],
)
def test_a_line_that_says_when_it_was_written_is_believed(text, ahead):
    assert of_app(text.encode())[0] == pytest.approx(ahead, abs=1e-3)


def test_bytes_that_are_no_text_and_long_lines_are_kept_as_far_as_they_go():
    assert of_app(b"caf\xe9 \x00\x1b[31m\r")[2] == "caf\ufffd \x00\x1b[31m"
    assert of_app(b"x" * (LONGEST + 7))[2] == "x" * LONGEST + "… (7 more)"
    assert shorten("y" * LONGEST) == "y" * LONGEST


def test_a_proxy_s_record_is_read_by_letters_and_by_the_names_of_before():
    """No letter means two things, and each name is that of a value."""
    (record,) = otlp.records(_sent({"s": "503", "p": "/a=b", "n": "-"}))
    assert (record.service, record.instance, record.code, record.fields) == ("web", "web-v1-0", 503, {"path": "/a=b"})
    assert list(otlp.records(_sent({"status": "503", "path": "/a=b"}))) == [record]
    assert list(otlp.records(_sent({"s": "503", "p": "/a=b"}, as_body=True))) == [record], "as proxies of before say it"
    assert len(NAMES) == len(LETTERS)
    assert set(LETTERS) <= {*_FIELDS, *_CARRIED, "direction"}


def _sent(said: dict[str, str], *, as_body: bool = False) -> bytes:
    """Return one record as an Envoy sends it."""
    request = ExportLogsServiceRequest()
    sent = request.resource_logs.add()
    for key, value in (("node_name", "web-v1-0"), ("cluster_name", "web")):
        sent.resource.attributes.add(key=key).value.string_value = value
    text = "\n".join(f"{name}={value}" for name, value in said.items())
    record = sent.instrumentation_library_logs.add().logs.add()
    if as_body:
        record.body.string_value = text
    else:
        record.attributes.add(key=SAID).value.string_value = text
    return bytes(request.SerializeToString())


def test_above_the_budget_only_failures_are_kept():
    budget = Budget(per_second=10, left=10, since=0)
    good, bad = record(), record(code=503, flags="UF")
    assert budget.admit([good] * 6, 0) == [good] * 6
    assert budget.admit([good] * 6 + [bad], 0) == [good] * 4 + [bad]
    assert budget.admit([good, bad], 0) == [bad]
    assert budget.admit([good] * 6, 0.5) == [good] * 5
    assert len(budget.admit([good] * 50, 100)) == 10


@pytest.mark.parametrize(
    ("changes", "failed"),
    [({}, False), ({"code": 404}, False), ({"code": 500}, True), ({"grpc": 0}, False), ({"grpc": 14}, True),
     ({"flags": "DC"}, True), ({"code": None}, True), ({"kind": "app"}, True)],
)  # fmt: skip
def test_what_has_failed(changes, failed):
    assert has_failed(record(**changes)) is failed


@pytest.mark.parametrize(
    ("text", "values"),
    [("503", (503,)), ("5xx", (500, 599)), ("4XX", (400, 499)), ("0", (0,)), ("UNAVAILABLE", (14,)), ("14", (14,))],
)
def test_a_status_is_a_number_a_class_or_a_name(text, values):
    assert code(text)[1] == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"code": "99"}, "code '99': a status such as 503, a class such as 5xx, or a gRPC status such as UNAVAILABLE"),
        ({"code": "6xx"}, "code '6xx'"),
        ({"limit": "0"}, "limit 0: 1 to 10000"),
        ({"limit": "-1"}, "limit '-1': a whole number"),
        ({"after": "9" * 30}, "a whole number"),
        ({"stream": "stdin"}, "stream 'stdin': stdout or stderr"),
        ({"since": "noon"}, "since 'noon': seconds since the epoch"),
    ],
)
def test_a_question_that_means_nothing_is_rejected(words, said):
    with pytest.raises(BadQuery) as rejected:
        parse(words)
    assert said in str(rejected.value)


def test_records_reach_the_teams_receiver_by_who_wrote_them():
    first = record(trace=TRACE, flags="UF", grpc=14, request="r1", fields={"path": '/"\n'})
    other = record(kind="app", service="web", instance="web-v1-0", version="", code=None, text="said", fields={})
    serialised = otlp.export([first, other, first], "shop")
    sent = ExportLogsServiceRequest.FromString(serialised)
    by_writer = [
        ({a.key: a.value.string_value for a in batch.resource.attributes}, batch.instrumentation_library_logs[0].logs)
        for batch in sent.resource_logs
    ]
    assert [writer for writer, _ in by_writer] == [
        {"service.namespace": "shop", "service.name": "orders", "service.instance.id": "orders-v1-0",
         "service.version": "v1"},
        {"service.namespace": "shop", "service.name": "web", "service.instance.id": "web-v1-0"},
    ]  # fmt: skip
    (twice, once) = (logs for _, logs in by_writer)
    assert [log.body.string_value for log in (*twice, *once)] == [first.text, first.text, "said"]
    assert (twice[0].trace_id.hex(), twice[0].time_unix_nano) == (TRACE, 1000 * 10**9)
    assert {a.key: a.value.string_value for a in twice[0].attributes} == {
        "kind": "access", "status": "200", "grpc_status": "14", "flags": "UF", "request_id": "r1", "path": '/"\n',
    }  # fmt: skip
    assert otlp.count(serialised) == 3


def test_a_share_of_what_goes_well_is_kept_at_all_hops_or_at_none():
    traces = [f"{number:032x}" for number in range(2000)]
    hops = [record(trace=trace, service=service) for trace in traces for service in ("web", "orders")]
    kept = sampled(hops, 10)
    assert 150 * 2 < len(kept) < 250 * 2
    assert {r.trace for r in kept if r.service == "web"} == {r.trace for r in kept if r.service == "orders"}
    failed = [record(code=503), record(grpc=14), record(flags="UF"), record(kind="app", code=None)]
    assert sampled([*hops, *failed], 0) == failed
    assert sampled(hops, 100) == hops
    assert [r.request for r in sampled([record(request="one"), record(request="two")], 50)] in (
        [], ["one"], ["two"], ["one", "two"],
    )  # fmt: skip
    assert [is_kept("one", share) for share in (0, 100)] == [False, True]


def test_a_share_is_kept_of_requests_that_bear_neither_a_trace_nor_an_id():
    """Of those of one moment too; and all hosts that records are passed on to decide the same."""
    moments = [1_790_000_000 + number * 0.000_123_457 for number in range(2000)]
    one_moment = [record(text=f"GET orders/{number} 200 3ms") for number in range(2000)]
    apart = [record(time=moment) for moment in moments]
    for found in (one_moment, apart):
        kept = sampled(found, 10)
        assert 100 < len(kept) < 300
        assert abs(len(sampled(list(otlp.passed_on(otlp.export(kept, "shop"))), 10)) - len(kept)) <= 2
        assert not sampled(found, 0)


def test_what_another_host_passes_on_arrives_as_it_was():
    given = [
        record(grpc=14, flags="UF,URX", trace=TRACE, request="r-1", fields={"method": "POST", "peer": "spiffe://a/b"}),
        record(
            kind="app", code=None, service="web", instance="web-v1-0", text="it\nsays \x00", fields={"stream": "stderr"}
        ),
    ]
    assert list(otlp.passed_on(otlp.export(given, "shop"))) == given
    assert otlp.count(otlp.export(given, "shop")) == 2


def test_one_text_that_is_no_utf_8_costs_a_batch_of_another_host_no_record():
    batch = otlp.export([record(text="harmless"), record(text="a name")], "shop").replace(
        b"harmless", b"\xff\xfeless.."
    )
    assert [found.text for found in otlp.passed_on(batch)] == ["\ufffd\ufffdless..", "a name"]


def test_what_is_neither_of_a_proxy_nor_of_an_app_is_not_passed_on():
    with pytest.raises(ValueError, match="and not 'other!'"):
        list(otlp.passed_on(otlp.export([record()], "shop").replace(b"access", b"other!")))
