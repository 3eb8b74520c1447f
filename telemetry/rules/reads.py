"""Which groups of rules a test evaluates: those that hold what it tests, and those that record what that reads."""

from collections.abc import Collection, Iterable

from telemetry.rules import promql
from telemetry.rules.rule import Alert, Group, Recording


def name_of(rule: Recording | Alert) -> str:
    """Return the name that a rule is known by."""
    return rule.record if isinstance(rule, Recording) else rule.name


def closure(groups: Collection[Group], rules: Iterable[str], given: Collection[str] = ()) -> tuple[Group, ...]:
    """Return the groups of the rules with these names and of all that they read, in the order given.

    What records a series that is `given` is not looked for.
    """
    known, due = set[str](), set(rules)
    while due:
        known |= due
        read = {read for group in groups for rule in group.rules if name_of(rule) in due for read in _reads(rule)}
        due = read - known - set(given)
    return tuple(group for group in groups if any(name_of(rule) in known for rule in group.rules))


def _reads(rule: Recording | Alert) -> tuple[str, ...]:
    return promql.metrics(name_of(rule), rule.expr)
