"""Why an app is not well, by lines as Envoy 1.40 writes them."""

import json

import pytest

from legation.host.unwell import Unwell, explain

ASKED = "GET /well every 1s, within 1s"


def line(kind: str, failure: str = "", second: int = 0, checker: str = "HTTP", **more: object) -> str:
    failed = {"failure_type": failure, "first_check": False, "http_status_code": 0, **more} if failure else {}
    at = f"2030-01-01T00:00:{second:02}Z"
    event = {"health_checker_type": checker, "cluster_name": "_checked_app", "timestamp": at, kind: failed}
    return json.dumps(event)


def failed(failure: str, second: int = 0, checker: str = "HTTP", **more: object) -> str:
    return line("health_check_failure_event", failure, second, checker, **more)


WELL = line("add_healthy_event")


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (failed("NETWORK"), "finds nobody: the connection is refused, or closed without an answer"),
        (failed("NETWORK_TIMEOUT"), "has no answer in time"),
        (failed("ACTIVE", http_status_code=503), "is answered with 503"),
        (failed("ACTIVE"), "is answered with another status than 200"),
        (failed("ACTIVE", checker="GRPC"), "is not answered with SERVING"),
        (line("eject_unhealthy_event", "ACTIVE", checker="GRPC"), "is not answered with SERVING"),
    ],
)
def test_each_kind_of_failure_has_its_words(event: str, found: str) -> None:
    assert explain(ASKED, f"{WELL}\n{event}").why == f"its health check ({ASKED}) {found}"


def test_the_last_failure_is_the_reason_and_the_first_in_a_row_its_begin() -> None:
    log = [failed("NETWORK", 1), WELL, failed("NETWORK", 5), '{"method":"GET"}', failed("ACTIVE", 6), "no JSON"]
    found = explain(ASKED, "\n".join(log))
    assert found == Unwell(
        f"its health check ({ASKED}) is answered with another status than 200", "2030-01-01T00:00:05Z"
    )


def test_a_begin_that_is_not_in_view_is_not_guessed() -> None:
    assert explain(ASKED, "\n".join([failed("NETWORK", 4)[20:], failed("NETWORK", 5)])).since is None
    assert explain(ASKED, failed("NETWORK", 5, first_check=True)).since == "2030-01-01T00:00:05Z"


@pytest.mark.parametrize("log", ["", WELL, f"{failed('NETWORK')}\n{WELL}", "_checked_app", '"_checked_app"'])
def test_without_a_failure_on_record_it_is_said_what_is_asked(log: str) -> None:
    assert explain(ASKED, log) == Unwell(f"it does not pass its health check ({ASKED})")
