"""When identities are due."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from certmgr.core.schedule import BACKDATE, Schedule, jitter

HOUR = 3600


def life(issued: float, ttl: float) -> tuple[float, float]:
    return issued - BACKDATE, issued + ttl


@pytest.mark.parametrize(("jitter", "due"), [(0, 1800), (1, 2160), (-1, 1440), (5, 2160)])
def test_renewal_is_at_half_of_life_give_or_take_a_tenth(jitter, due):
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0, life=life(0, HOUR), jitter=jitter)
    assert schedule.next_wake() == due
    assert schedule.tick(due - 1) == ()
    assert schedule.tick(due) == ("orders",)


def test_new_identity_is_due_at_once_and_only_once():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 100)
    assert schedule.tick(100) == ("orders",)
    assert schedule.tick(1e9) == ()
    assert schedule.next_wake() is None


def test_expired_identity_is_due_at_once():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 1e6, life=life(0, HOUR))
    assert schedule.tick(1e6) == ("orders",)
    assert schedule.seconds_to_outage(1e6) == 0


@pytest.mark.parametrize(
    ("ttl", "limit", "failures", "longest"),
    [
        (HOUR, 300, 1, 1),
        (HOUR, 300, 2, 2),
        (HOUR, 300, 5, 16),
        (HOUR, 300, 50, 180),
        (86400, 300, 50, 300),
        (86400, 20, 50, 20),
        (600, 300, 50, 30),
        (60, 300, 50, 3),
    ],
)
def test_back_off_doubles_to_a_cap_that_short_lives_lower(ttl, limit, failures, longest):
    schedule = Schedule(limit)
    schedule.add("orders", ttl, 0)
    for _ in range(failures):
        schedule.tick(1e9)
        schedule.failed("orders", "no", 1000, roll=1.0)
    assert schedule.next_wake() == 1000 + longest
    assert schedule.get("orders").error == "no"


def test_jitter_of_retries_is_full_but_never_spins():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    for roll, wait in ((0.0, 0.2), (0.5, 1.0), (0.25, 1.0)):
        schedule.tick(1e9)
        schedule.failed("orders", "no", 0, roll)
        assert schedule.next_wake() == wait


def test_success_ends_the_error():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    schedule.tick(0)
    schedule.failed("orders", "no", 0, 1)
    schedule.tick(1)
    schedule.issued("orders", life(1, HOUR), 1, 0)
    entry = schedule.get("orders")
    assert (entry.error, entry.failures, entry.due) == (None, 0, 1801)
    assert schedule.ready(1)


def test_shorter_life_is_taken_at_once_longer_at_the_next_renewal():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0, life=life(0, HOUR))
    schedule.add("orders", 2 * HOUR, 10)
    assert schedule.tick(10) == ()
    schedule.add("orders", 60, 20)
    assert schedule.tick(20) == ("orders",)
    schedule.add("orders", 30, 21)
    schedule.issued("orders", life(21, 60), 21, 0)
    assert schedule.tick(21) == ("orders",), "it was cut again while the attempt was under way"


def test_a_trigger_while_under_way_means_once_more():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    schedule.tick(0)
    schedule.trigger("orders", 0)
    schedule.issued("orders", life(0, HOUR), 0, 0)
    assert schedule.tick(0) == ("orders",)
    schedule.issued("orders", life(0, HOUR), 0, 0)
    assert schedule.tick(0) == ()


def test_suspended_identity_is_renewed_only_when_it_is_triggered():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    schedule.suspend("orders")
    assert schedule.tick(10 * HOUR) == ()
    schedule.trigger("orders", 10 * HOUR)
    assert schedule.tick(10 * HOUR) == ("orders",)


def test_recovery_brings_retries_forward_and_spreads_them():
    schedule = Schedule(300)
    for number in range(100):
        schedule.add(f"s{number}", 86400, 0)
    schedule.add("fine", HOUR, 0, life=life(0, HOUR))
    for _ in range(12):
        schedule.tick(1000)
        for number in range(100):
            schedule.failed(f"s{number}", "no", 0, 1)
    rolls = iter(number / 100 for number in range(100))
    schedule.recovered(0, lambda: next(rolls))
    dues = [schedule.get(f"s{number}").due or 0.0 for number in range(100)]
    assert max(dues) == pytest.approx(9.9)
    assert len(set(dues)) == 100
    assert schedule.get("fine").due == 1800


def test_recovery_leaves_attempts_under_way_alone():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    schedule.tick(0)
    schedule.failed("orders", "no", 0, 1)
    assert schedule.tick(1) == ("orders",)
    schedule.recovered(1, lambda: 0)
    assert schedule.tick(1e6) == ()


def test_forgotten_identity_takes_nothing_back():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 0)
    schedule.tick(0)
    schedule.forget("orders")
    schedule.issued("orders", life(0, HOUR), 0, 0)
    schedule.failed("orders", "no", 0, 0)
    assert schedule.next_wake() is None
    assert schedule.seconds_to_outage(0) is None
    assert not schedule.ready(0)


def test_attack_24_clock_that_goes_back_issues_nothing():
    schedule = Schedule(300)
    schedule.add("orders", HOUR, 7200, life=life(7200, HOUR))
    assert schedule.tick(0) == ()
    assert not schedule.ready(0), "it is not valid yet, and that is said"


@given(st.floats(0, 1e9), st.floats(1, 1e6), st.floats(-1, 1))
def test_renewal_leaves_time_on_both_sides(issued, ttl, jitter):
    schedule = Schedule(300)
    schedule.add("orders", int(ttl) + 1, issued, life=life(issued, ttl), jitter=jitter)
    assert issued + 0.39 * ttl <= schedule.next_wake() <= issued + 0.61 * ttl


class Machine(RuleBasedStateMachine):
    """Any order of events: one attempt at a time, nothing is ever lost, nothing wakes for ever."""

    def __init__(self):
        super().__init__()
        self.schedule, self.now = Schedule(300), 0.0
        self.known, self.flying = set(), set()

    names = st.sampled_from("abc")

    @rule(name=names, ttl=st.integers(60, 86400))
    def add(self, name, ttl):
        self.schedule.add(name, ttl, self.now)
        self.known.add(name)

    @rule(name=names)
    def forget(self, name):
        self.schedule.forget(name)
        self.known.discard(name)
        self.flying.discard(name)

    @rule(seconds=st.floats(0, 1e5))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def tick(self):
        due = set(self.schedule.tick(self.now))
        assert not due & self.flying
        assert due <= self.known
        self.flying |= due

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), ttl=st.integers(60, 86400), jitter=st.floats(-1, 1))
    def issue(self, data, ttl, jitter):
        name = data.draw(st.sampled_from(sorted(self.flying)))
        self.schedule.issued(name, life(self.now, ttl), self.now, jitter)
        self.flying.discard(name)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), roll=st.floats(0, 1))
    def fail(self, data, roll):
        name = data.draw(st.sampled_from(sorted(self.flying)))
        self.schedule.failed(name, "no", self.now, roll)
        self.flying.discard(name)
        assert self.now < (self.schedule.get(name).due or 0.0) <= self.now + 300

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def trigger(self, data):
        self.schedule.trigger(data.draw(st.sampled_from(sorted(self.known))), self.now)

    @rule(roll=st.floats(0, 1))
    def recover(self, roll):
        self.schedule.recovered(self.now, lambda: roll)

    @invariant()
    def each_waits_or_flies(self):
        waiting = {name for name in self.known if self.schedule.get(name).due is not None}
        assert waiting == self.known - self.flying
        assert (self.schedule.next_wake() is None) == (not waiting)


TestMachine = Machine.TestCase


def test_each_identity_has_its_own_place_on_each_host():
    """A thousand that were issued in one second are renewed all over a fifth of their life, again and again."""
    places = [jitter(host, f"s{n}", 0.5) for host in ("a", "b") for n in range(500)]
    tenths = Counter(int((place + 1) * 5) for place in places)
    assert set(range(1, 9)) <= set(tenths)
    assert max(tenths.values()) < 2 * 1000 / 8
    assert jitter("a", "s1", 0.5) == jitter("a", "s1", 0.5) != jitter("b", "s1", 0.5)
    assert all(-1 <= jitter("a", f"s{n}", roll) <= 1 for n in range(100) for roll in (0.0, 1.0))
    assert abs(jitter("a", "s1", 1.0) - jitter("a", "s1", 0.0)) == pytest.approx(0.4)
