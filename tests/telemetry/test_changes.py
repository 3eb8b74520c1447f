"""What has changed lately: said in a line, bounded, and kept over a restart."""

from pathlib import Path

import pytest
from msgspec.structs import replace as changed
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from legation.mesh.load import load
from telemetry.changes import AGE, KEPT, Change, noted, of_instances, of_mesh, plain, recent
from telemetry.inventory import Inventory
from telemetry.metrics import Metrics
from telemetry.record import Record
from tests.telemetry.registry import MESH, instance

HOSTILE = 'a"b\\c\nd\x00e\x1b[31m\u2028' + "ü" * 65536


def mesh(text: str = MESH):
    return load(text, "mesh.yaml").mesh


@pytest.mark.parametrize(
    ("after", "what", "service"),
    [
        (MESH, "mesh.yaml 0123456789ab", ""),
        (MESH.replace("port: 9090", "port: 9091"), "mesh.yaml 0123456789ab: orders changed", "orders"),
        (
            MESH.replace("127.0.0.1", "127.0.0.2") + "  mail: {protocol: http, port: 1}\n",
            "mesh.yaml 0123456789ab: mail added; tracing changed",
            "",
        ),
        (MESH + "".join(f"  s{n}: {{protocol: http, port: 1}}\n" for n in range(7)),
         "mesh.yaml 0123456789ab: s0, s1, s2, s3, s4 and 2 more added", ""),
    ],
)  # fmt: skip
def test_a_change_of_the_mesh_names_what_differs(after: str, what: str, service: str) -> None:
    change = of_mesh(mesh(), mesh(after), "0123456789abcdef", 5.0, "ann")
    assert (change.what, change.service, change.at, change.by) == (what, service, 5.0, "ann")
    assert of_mesh(mesh(after), mesh(after), "0123456789abcdef", 5.0, "").what == "mesh.yaml 0123456789ab"
    assert of_mesh(None, mesh(after), "0123456789abcdef", 5.0, "").what == "mesh.yaml 0123456789ab"


def test_instances_that_come_and_go_together_are_one_change() -> None:
    one, two = instance(1), instance(2)
    starting = changed(two, state="starting")
    assert list(of_instances([one], [one, starting], 1.0)) == []
    known: tuple[Change, ...] = ()
    for before, after, at in (
        ([one, starting], [one, two], 2.0),
        ([one, two], [changed(one, state="draining"), two], 30.0),
        ([changed(one, state="draining"), two], [two], 31.0),
        ([two], [changed(two, state="restarting", connected=False)], 32.0),
    ):
        for change in of_instances(before, after, at):
            known = noted(known, change)
    (change,) = known
    assert (change.what, change.at) == ("web v1: 1 started, 1 ended", 30.0)
    (later,) = of_instances([two], [], 500.0)
    assert [c.what for c in noted(known, later)] == ["web v1: 1 started, 1 ended", "web v1: 1 ended"]


def test_the_record_is_bounded_in_number_age_and_length_and_outlives_us(tmp_path: Path) -> None:
    time = [0.0]
    record = Record(tmp_path / "changes.json", lambda: time[0])
    for number in range(KEPT + 10):
        record.note(Change(at=float(number), kind="scale", what=f"{number} {HOSTILE}", by=HOSTILE))
    record.note(Change(at=float(KEPT + 9), kind="scale", what="heard again"))
    again = Record(tmp_path / "changes.json", lambda: time[0])
    assert again.changes() == record.changes()
    assert [c.what.split()[0] for c in again.changes()] == [str(n) for n in range(10, KEPT + 10)]
    assert all(len(c.what) <= 200 and c.what.isprintable() for c in again.changes())
    time[0] = AGE + 20.5
    assert len(again.changes()) == KEPT - 11
    (tmp_path / "changes.json").write_text("{")
    assert Record(tmp_path / "changes.json", lambda: 0.0).changes() == ()
    broken = Record(tmp_path / "no folder" / "changes.json", lambda: 0.0)
    broken.note(Change(at=1.0, kind="scale", what="more"))
    assert len(broken.changes()) == 1
    assert recent(broken.changes(), AGE + 2) == ()


def test_changes_are_series_that_any_value_leaves_whole() -> None:
    changes = tuple(Change(at=float(n), kind="mesh", what=plain(f"{n} {HOSTILE}")) for n in range(KEPT))
    metrics = Metrics(Inventory, tuple, None, lambda: changes)
    (family,) = (
        f for f in text_string_to_metric_families(metrics.text().decode()) if f.name == "mesh_change_timestamp_seconds"
    )
    assert len(family.samples) == 20
    assert {s.labels["what"].split()[0]: s.value for s in family.samples} == {str(n): n for n in range(30, 50)}
    assert isinstance(metrics.registry, CollectorRegistry)
