"""Headers that go before anything reads them: which, and how many passes over all headers that takes."""

import re
from itertools import product

import pytest

from legation.mesh.model.call import Allow
from legation.mesh.model.service import Service
from xds_server.compile.forged import forged

SHORT, LONG = ("x-team", "y_a-b", "team", "9-9", "-", "^a-b"), tuple(f"x-{'part-' * 9}{n}" for n in "abc")


def removed(headers: tuple[str, ...]) -> list[re.Pattern[str]]:
    """Return what is removed because rules look at some headers; without what every service has removed."""
    service = Service.model_validate({"protocol": "http", "port": 80})
    rule = Allow.model_validate({"headers": dict.fromkeys(headers, "a")})
    _, *own = forged(service, [(rule,)])
    return [re.compile(matcher.safe_regex.regex) for matcher in own]


@pytest.mark.parametrize("headers", [SHORT, LONG, (*SHORT, *LONG)])
def test_each_header_that_rules_look_at_is_left_in_its_own_spelling_alone(headers):
    patterns = removed(headers)
    for header in headers:
        parts = re.split("[-_]", header)
        spelled = {
            "".join(map("".join, zip(parts, [*s, ""], strict=True))) for s in product("-_", repeat=len(parts) - 1)
        }
        assert {name for name in spelled if not any(p.fullmatch(name) for p in patterns)} == {header}
        assert not any(
            p.fullmatch(f"{name}{more}") or p.fullmatch(more + name)
            for p in patterns
            for name in spelled
            for more in "ax"
        )


def test_short_ones_share_a_pass_and_envoy_takes_what_is_longer():
    """It refuses what RE2 needs more than 100 steps for, which are no more than its characters."""
    assert [p.pattern for p in removed(("x-a", "x-b", "x-c"))] == ["^x(_a|_b|_c)"]
    assert all(len(p.pattern) < 95 or "|" not in p.pattern for p in removed((*SHORT, *LONG)))
