"""Whose fault it is that a request failed or came late: the mesh's or the machine's."""

import pytest

from tests.support.load_report import Record, Report, kept_its_rate, of_the_mesh


def record(due: float, took: float = 0.01, failure: str | None = None, status: int | None = 200) -> Record:
    return Record(int(due * 10), "GET", "/", due, due, due + took, fresh=False, status=status, failure=failure)


TIMEOUT = record(10.0, 10.0, "timeout of 10 s", None)


@pytest.mark.parametrize(
    ("failed", "control", "blamed"),
    [
        (TIMEOUT, [record(12.0)], True),
        (TIMEOUT, [record(12.0, 3.0)], False),
        (TIMEOUT, [record(12.0, 10.0, "timeout of 10 s", None)], False),
        (TIMEOUT, [record(25.0, 3.0)], True),
        (record(10.0, 0.1, "status 503", 503), [record(10.0, 3.0)], True),
        (record(10.0, 0.1, "connection refused", None), [record(10.0, 3.0)], True),
    ],
)
def test_only_a_timeout_that_the_control_shares_is_the_machines(failed, control, blamed) -> None:
    found = of_the_mesh(Report((record(9.0), failed), 200), Report(tuple(control), 20))
    assert found == ((failed,) if blamed else ())


def spread(rate: float, wanted: float) -> Report:
    return Report(tuple(record(n / rate) for n in range(int(rate) * 2 + 1)), wanted)


@pytest.mark.parametrize(
    ("rate", "control", "idle", "fine"),
    [
        (200, 20, 0.5, True),
        (185, 20, 0.5, True),
        (148, 20, 0.5, False),
        (148, 15, 0.5, True),
        (148, 20, 0.02, True),
    ],
)
def test_a_low_rate_is_the_meshs_only_where_the_machine_could_do_more(rate, control, idle, fine) -> None:
    assert kept_its_rate(spread(rate, 200), spread(control, 20), idle) is fine
