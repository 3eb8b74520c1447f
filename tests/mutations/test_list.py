"""The list of mutations speaks of the code as it is: `make mutate` itself is not for every run."""

import pytest

from tests.mutations.mutate import ROOT, mutations


def test_there_are_at_least_ten():
    assert len({mutation.rule for mutation in mutations()}) == len(mutations()) >= 10


@pytest.mark.parametrize("mutation", mutations(), ids=lambda mutation: mutation.rule)
def test_what_is_broken_is_there_once_and_its_tests_too(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new
    assert all((ROOT / test).is_file() for test in mutation.killed_by)
