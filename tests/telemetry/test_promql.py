"""PromQL as a language."""

import pytest

from telemetry.rules.promql import InvalidQuery, metrics, parse, selectors


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("a", ("a{}",)),
        ('sum by (x) (rate(a{b="c"}[5m]))', ('a{b="c"}',)),
        ("a / (b > 0) or 0 * c", ("a{}", "b{}", "c{}")),
        ("-a + 1", ("a{}",)),
        ("max_over_time(rate(a[1m])[5m:1m])", ("a{}",)),
        ('label_replace(a, "x", "$1", "y", "(.*)")', ("a{}",)),
        ("histogram_quantile(0.9, a) and on (x) a", ("a{}",)),
        ("vector(0)", ()),
    ],
)
def test_selectors_are_found_wherever_they_are(expr, found):
    assert selectors("test", expr) == found


def test_metrics_are_names_without_matchers():
    assert metrics("test", 'a{x="1"} + a{x="2"} + b') == ("a", "b")


def test_what_does_not_parse_is_refused_with_its_place():
    with pytest.raises(InvalidQuery, match=r"^shop/Requests: 'sum\(' is no PromQL: "):
        parse("shop/Requests", "sum(")
