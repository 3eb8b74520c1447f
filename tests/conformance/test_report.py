"""docs/conformance.md shows what the runs printed, of the cases as they are."""

from importlib import import_module

from tests.conformance.report import DOC, HERE, Report, page, recorded


def cases() -> dict[str, tuple[str, set[str]]]:
    """Title and variants of each case, as the tests have them."""
    found: dict[str, tuple[str, set[str]]] = {}
    for path in HERE.glob("test_*.py"):
        for test in vars(import_module(f"tests.conformance.{path.stem}")).values():
            marks = {mark.name: mark for mark in getattr(test, "pytestmark", [])}
            variants = [m.args[1] for m in getattr(test, "pytestmark", []) if m.args[0] == "variant"]
            if "case" in marks:
                number, title, _ = marks["case"].args
                found[number] = title, {variant.name for variant in variants[0]}
    return found


def test_there_are_53_cases():
    assert sorted(cases()) == [f"case_{number:02}" for number in range(1, 54)]


def test_the_runs_that_are_shown_are_of_the_cases_as_they_are():
    for command, report in recorded():
        shown = {number: (row.title, set(row.outcomes)) for number, row in report.rows.items()}
        assert shown == cases(), f"run it again: {command}"


def test_our_own_server_passes_all():
    (_, ours), *_ = recorded()
    assert (ours.target, ours.total()) == ("legation xds_server", "53 cases: 53 pass")


def test_the_page_is_made_of_the_runs():
    assert DOC.read_text() == page(), "docs/conformance.md is not as the runs and tests/conformance/page.md make it"


def test_a_case_fails_by_one_variant_and_says_which():
    report = Report("some server")
    for variant in ("delta-ads", "sotw-ads"):
        report.expect("case_01", "a rule", variant)
    report.set("case_01", "delta-ads", "pass")
    assert report.rows["case_01"].verdict == "not run"
    report.set("case_01", "sotw-ads", "n/a", "it has no such thing")
    assert report.rows["case_01"].verdict == "pass"
    report.set("case_01", "sotw-ads", "FAIL", "nothing came")
    report.set("case_01", "sotw-ads", "pass")
    assert report.lines() == [
        "case_01  FAIL    delta-ads, sotw-ads: a rule",
        "                 sotw-ads FAIL: nothing came",
        "1 cases: 1 fail",
    ]
