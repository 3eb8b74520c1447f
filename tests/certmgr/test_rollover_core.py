"""The plan of a roll-over: which step comes next, whom it waits for, and every way through it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certmgr.core.rollover import (
    ACTORS,
    PHASES,
    CannotRollOver,
    begin,
    called_off,
    desired,
    following,
    kept,
    left,
    prepared,
    settles_at,
    step,
    steps,
    waits_for,
)
from legation.mesh.rollover import CaRef, HostProgress, Rollover, Standing

OLD, NEW = CaRef("int-1", "root-1", intermediate="a", root="b"), CaRef("int-2", "root-2", intermediate="c", root="d")
NOW = 1000.0


def at(phase, **more) -> Rollover:
    return Rollover("x", "root", OLD, NEW, phase, NOW, NOW, **{"settle": 60.0, **more})


def said(rollover: Rollover, host="a", waits=(), taken=()) -> HostProgress:
    return HostProgress(host, rollover.id, rollover.phase, rollover.back, waits=waits, taken=taken)


def standing(rollover: Rollover, *hosts: HostProgress, instances=()) -> Standing:
    return Standing(3, rollover, {one.host: one for one in hosts}, instances)


def test_all_trust_the_new_root_before_anything_is_issued_by_it_and_the_old_one_until_nothing_is_left_of_it():
    trusted = [desired(at(phase)).trusted for phase in PHASES]
    assert trusted == [(OLD,), *[(OLD, NEW)] * 5, (NEW,), (NEW,)]
    assert [desired(at(phase)).issuer for phase in PHASES] == [None, None, None, NEW, NEW, NEW, NEW, NEW]


@given(st.lists(st.sampled_from(["on", "back"]), max_size=12), st.sampled_from(["root", "vault"]))
@settings(max_examples=200)
def test_whatever_is_done_whoever_has_a_certificate_is_trusted_by_everybody(moves, kind):
    """Hosts move at their own pace: what one has in a phase must be trusted by one that is still a phase behind."""
    rollover, before = replace(at("prepare"), kind=kind), None
    holds = {OLD.root}
    for move in moves:
        try:
            after = called_off(rollover, NOW) if move == "back" else following(rollover, NOW)
        except (CannotRollOver, IndexError):
            continue
        before, rollover = rollover, after
        issuer = desired(rollover).issuer
        may_hold = holds | ({issuer.root} if issuer else {kept(rollover).root} if rollover.phase == "switch" else set())
        for one in (before, rollover):
            assert may_hold <= {ca.root for ca in desired(one).trusted} or rollover.phase == "done", (before, rollover)
        # a step of the proxies is left only when all have what it wants
        holds = {issuer.root} if issuer is not None and rollover.phase != "switch" else may_hold


@pytest.mark.parametrize("phase", ["trust", "issue", "drop"])
def test_a_step_of_the_proxies_waits_for_each_by_name(phase):
    rollover = at(phase)
    assert waits_for(standing(rollover), NOW) == ("a certmgr: none has said anything",)
    late = said(rollover, waits=("orders-1: its proxy has not ACKed",))
    assert waits_for(standing(rollover, late), NOW) == ("host a: orders-1: its proxy has not ACKed",)
    assert step(standing(rollover, late), NOW) is None
    done = step(standing(rollover, said(rollover)), NOW + 5)
    assert done is not None
    assert (done.phase, done.since) == (PHASES[PHASES.index(phase) + 1], NOW + 5)


def test_a_host_that_says_nothing_of_this_step_is_waited_for():
    rollover = at("trust")
    other = HostProgress("b", "x", "prepare")
    found = waits_for(standing(rollover, said(rollover), other), NOW)
    assert found == ("host b: its certmgr has said nothing of it yet",)
    assert step(standing(rollover, said(rollover), said(replace(rollover, back=True), "b")), NOW) is None


def test_an_instance_of_the_registry_without_a_stream_is_waited_for():
    rollover = at("drop")
    here = said(rollover, taken=("orders-1",))
    assert waits_for(standing(rollover, here, instances=("orders-1", "web-1")), NOW) == (
        "web-1: its proxy has not both of its SDS streams open",
    )
    late = said(rollover, waits=("web-1: its proxy has not ACKed",), taken=("orders-1",))
    assert len(waits_for(standing(rollover, late, instances=("orders-1", "web-1")), NOW)) == 1, "named once"


def test_what_settles_is_over_when_its_time_is():
    rollover = at("settle")
    assert settles_at(rollover) == NOW + 60
    assert settles_at(at("trust")) is None
    assert waits_for(standing(rollover), NOW + 20) == ("40 s of its time to settle",)
    assert step(standing(rollover), NOW + 59) is None
    after = step(standing(rollover), NOW + 60)
    assert after is not None
    assert after.phase == "drop"


def test_what_settles_is_not_over_while_a_host_that_has_come_meanwhile_has_the_old_ca_alone():
    """It would be cut off; one that is away is no reason, as it had its certificates before."""
    rollover = at("settle")
    late, away = said(rollover, "b", waits=("nothing to log in with",)), HostProgress("c", "x", "issue", waits=("?",))
    now = standing(rollover, said(rollover), late, away)
    assert waits_for(now, NOW + 59) == ("1 s of its time to settle", "host b: nothing to log in with")
    assert step(now, NOW + 60) is None
    assert step(standing(rollover, said(rollover), said(rollover, "b"), away), NOW + 60) is not None


@pytest.mark.parametrize("phase", [phase for phase in PHASES if ACTORS[phase] in {"operator", "nobody"}])
def test_nobody_takes_an_operators_step_for_him(phase):
    rollover = at(phase)
    assert step(standing(rollover, said(rollover)), NOW) is None
    assert bool(waits_for(standing(rollover, said(rollover)), NOW)) == (phase != "done")


def test_paused_it_stays():
    rollover = at("trust", paused=True)
    assert step(standing(rollover, said(rollover)), NOW) is None
    assert step(Standing(), NOW) is None
    assert waits_for(Standing(), NOW) == ()


@pytest.mark.parametrize(
    ("phase", "then"),
    [("prepare", "done"), ("trust", "drop"), ("switch", "switch"), ("issue", "switch"), ("settle", "switch")],
)
def test_called_off_it_goes_back_as_carefully(phase, then):
    back = called_off(at(phase, paused=True), NOW + 1)
    assert (back.phase, back.back, back.paused) == (then, True, False)
    assert (kept(back), left(back)) == (OLD, NEW)
    with pytest.raises(CannotRollOver, match="already"):
        called_off(back, NOW)


@pytest.mark.parametrize("phase", ["drop", "done"])
def test_the_old_root_is_dropped_for_good(phase):
    with pytest.raises(CannotRollOver, match="another roll-over"):
        called_off(at(phase), NOW)


def test_one_at_a_time():
    with pytest.raises(CannotRollOver, match="is at trust"):
        begin(standing(at("trust")), at("prepare"))
    assert begin(standing(at("done")), at("prepare")) == begin(Standing(), at("prepare")) == at("prepare")


def test_what_was_made_is_known_from_then_on():
    made = replace(NEW, intermediate="e")
    after = prepared(at("prepare"), made, NOW + 1)
    assert (after.phase, after.new) == ("trust", made)


def test_to_another_vault_each_host_turns_by_itself():
    walk = [replace(at("prepare"), kind="vault")]
    while walk[-1].phase != "done":
        walk.append(following(walk[-1], NOW))
    assert [one.phase for one in walk] == ["prepare", "trust", "issue", "settle", "drop", "done"]
    assert [phase for phase, _, _ in steps("vault")] == ["prepare", "trust", "issue", "settle", "drop"]
    assert len(steps("root")) == 7
    assert called_off(walk[2], NOW).phase == "issue"
