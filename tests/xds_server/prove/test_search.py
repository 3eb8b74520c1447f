"""Finding what Envoy rejects, with an Envoy that is a set of names."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.prove.search import Search
from xds_server.snapshot import CLUSTER, Resource


def resources(count: int) -> tuple[Resource, ...]:
    return tuple(Resource.of(CLUSTER, str(n), b"") for n in range(count))


def run(search: Search, bad: set[str], together: frozenset[str] = frozenset(), limit: int = 1000) -> int:
    """Answer as an Envoy that rejects the bad ones, and some others only where all of them are; return its runs."""
    runs = 0
    while runs < limit and (asked := search.asked) is not None:
        runs += 1
        names = {resource.name for resource in asked}
        search.answer("no" if names & bad or (together and together <= names) else None)
    return runs


def named(search: Search) -> list[tuple[str, ...]]:
    return [tuple(resource.name for resource in fault.resources) for fault in search.faults]


@given(count=st.integers(0, 40), together=st.integers(1, 50), bad=st.sets(st.integers(0, 39), max_size=6))
def test_each_rejected_resource_is_found_and_nothing_else(count, together, bad):
    search = Search(resources(count), together)
    run(search, {str(n) for n in bad})
    assert named(search) == [(str(n),) for n in sorted(bad) if n < count]


def test_what_is_good_costs_one_run_in_each_portion():
    assert [run(Search(resources(count), 10), set()) for count in (0, 1, 10, 11, 25)] == [0, 1, 1, 2, 3]


def test_one_bad_one_in_a_thousand_costs_two_runs_a_halving():
    assert run(Search(resources(1000), 1000), {"700"}) <= 1 + 2 * 10


@pytest.mark.parametrize("pair", [("0", "7"), ("2", "3")])
def test_what_is_rejected_only_together_is_said_of_as_few_as_are_known(pair):
    search = Search(resources(8), 8)
    run(search, set(), frozenset(pair))
    (found,) = named(search)
    assert set(pair) <= set(found)


def test_a_search_that_ends_early_says_what_it_knows():
    for limit, expected in ((1, 8), (2, 4), (3, 2), (4, 1)):
        search = Search(resources(8), 8)
        run(search, {"0"}, limit=limit)
        assert [len(names) for names in named(search)] == [expected]


def test_two_bad_ones_are_both_found_wherever_they_are():
    for pair in combinations("01234567", 2):
        search = Search(resources(8), 3)
        run(search, set(pair))
        assert named(search) == [(name,) for name in pair]


def test_nothing_can_be_answered_when_nothing_is_asked():
    with pytest.raises(AssertionError):
        Search((), 1).answer(None)
