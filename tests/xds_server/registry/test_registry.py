"""The registry's decisions: who is there, who takes requests, when somebody is given up."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import InstanceState
from xds_server.registry.registry import (
    GRACE,
    HOLD_LIMIT,
    RESTORED_GRACE,
    STOPGAP_LIMIT,
    Registry,
    StaleBoot,
    UnknownInstance,
)
from xds_server.registry.registry import _endpoints as made_anew


def node(instance: str = "orders-v1-0", service: str = "orders", version: str = "v1", boot: str = "1") -> InstanceSpec:
    return InstanceSpec(instance, service, version, boot, "127.64.1.1", 15006)


def up(registry: Registry, given: InstanceSpec, stream: int, state: InstanceState = "ready") -> None:
    registry.connected(given, f"spiffe://shop.local/{given.service}", stream)
    registry.transition(given.id, given.boot, state)


def ids(registry: Registry, service: str = "orders") -> list[str]:
    return [e.instance for e in registry.endpoints(service)]


def test_a_starting_instance_is_an_endpoint_only_while_its_version_has_no_ready_one() -> None:
    """Requests wait for it, as connections to it are refused and tried again."""
    registry = Registry()
    assert registry.connected(node(), "spiffe://shop.local/orders", 1) == {"orders"}
    assert ids(registry) == ["orders-v1-0"]
    assert registry.ready_versions("orders") == frozenset()
    up(registry, node("orders-v1-1"), 2)
    assert ids(registry) == ["orders-v1-1"]
    assert registry.ready_versions("orders") == {"v1"}


def test_an_endpoint_that_takes_no_requests_yet_or_any_more_is_marked_so() -> None:
    registry = Registry()
    up(registry, node("orders-v1-0"), 1)
    registry.connected(node("orders-v2-0", version="v2"), "spiffe://shop.local/orders", 2)
    assert {e.instance: e.ready for e in registry.endpoints("orders")} == {"orders-v1-0": True, "orders-v2-0": False}
    registry.disconnected("orders-v1-0", 1, now=100.0)
    registry.tick(100.0 + GRACE)
    up(registry, node("orders-v2-0", version="v2"), 2)
    assert {e.instance: e.ready for e in registry.endpoints("orders")} == {"orders-v1-0": False, "orders-v2-0": True}


def test_the_last_instance_of_a_version_stays_an_endpoint_for_a_while_after_it_is_lost() -> None:
    registry = Registry()
    up(registry, node("orders-v1-0"), 1)
    up(registry, node("orders-v2-0", version="v2"), 2)
    up(registry, node("orders-v2-1", version="v2"), 3)
    registry.disconnected("orders-v1-0", 1, now=100.0)
    assert registry.ready_versions("orders") == {"v1", "v2"}, "it may come back at once"
    assert registry.next_wake() == 100.0 + GRACE
    assert registry.tick(100.0 + GRACE) == {"orders"}
    assert registry.next_wake() == 100.0 + STOPGAP_LIMIT
    assert registry.ready_versions("orders") == {"v2"}, "it is kept, and known to be lost"
    assert len(ids(registry)) == 3
    assert registry.tick(100.0 + STOPGAP_LIMIT) == {"orders"}
    assert ids(registry) == ["orders-v2-0", "orders-v2-1"]


def test_the_last_container_that_ends_leaves_its_callers_waiting_for_another() -> None:
    """At an address that refuses them; on a host a successor is ready before the last one ends."""
    registry = Registry()
    old, new = (replace(node(name), by_name=True) for name in ("orders-v1-a", "orders-v1-b"))
    up(registry, old, 1)
    assert registry.transition(old.id, old.boot, "draining") == {"orders"}
    ((kept),) = registry.endpoints("orders")
    assert (kept.address, kept.port, kept.ready) == ("127.0.0.1", 1, False)
    assert registry.ready_versions("orders") == frozenset()
    registry.disconnected(old.id, 1, now=100.0)
    registry.tick(100.0 + GRACE)
    assert ids(registry) == [old.id]
    up(registry, new, 2)
    assert ids(registry) == [new.id]
    registry.tick(100.0 + STOPGAP_LIMIT)
    assert old.id not in registry.entries


def test_the_last_container_that_ends_is_given_up_after_a_while() -> None:
    registry = Registry()
    only = replace(node(), by_name=True)
    up(registry, only, 1, "draining")
    registry.disconnected(only.id, 1, now=100.0)
    registry.tick(100.0 + GRACE)
    registry.tick(100.0 + STOPGAP_LIMIT)
    assert ids(registry) == []


def test_a_lost_instance_goes_as_soon_as_another_of_its_version_is_ready() -> None:
    registry = Registry()
    up(registry, node("orders-v1-0"), 1)
    registry.disconnected("orders-v1-0", 1, now=100.0)
    registry.tick(100.0 + GRACE)
    up(registry, node("orders-v1-1"), 2)
    assert registry.next_wake() == 100.0 + GRACE
    registry.tick(100.0 + GRACE)
    assert ids(registry) == ["orders-v1-1"]


def test_the_end_of_a_stream_withdraws_after_its_grace_and_not_before() -> None:
    registry = Registry()
    for number in range(3):
        up(registry, node(f"orders-v1-{number}"), number)
    registry.disconnected("orders-v1-0", 0, now=100.0)
    assert registry.next_wake() == 100.0 + GRACE
    assert registry.tick(100.0 + GRACE - 0.1) == frozenset()
    assert registry.tick(100.0 + GRACE) == {"orders"}
    assert ids(registry) == ["orders-v1-1", "orders-v1-2"]


def test_a_stream_that_comes_back_in_time_keeps_its_instance_ready() -> None:
    registry = Registry()
    up(registry, node(), 1)
    registry.disconnected("orders-v1-0", 1, now=100.0)
    registry.connected(node(), "spiffe://shop.local/orders", 2)
    assert registry.next_wake() is None
    assert ids(registry) == ["orders-v1-0"]


def test_two_streams_of_one_life_are_one_instance_until_both_end() -> None:
    """Case 47 of the conformance list: a restart's overlap."""
    registry = Registry()
    up(registry, node(), 1)
    registry.connected(node(), "spiffe://shop.local/orders", 2)
    registry.disconnected("orders-v1-0", 1, now=100.0)
    assert registry.next_wake() is None


def test_the_newest_boot_wins() -> None:
    registry = Registry()
    up(registry, node(boot="2"), 1)
    with pytest.raises(StaleBoot):
        registry.connected(node(boot="1"), "spiffe://shop.local/orders", 2)
    registry.connected(node(boot="3"), "spiffe://shop.local/orders", 3)
    assert registry.ready_versions("orders") == frozenset(), "a new life is not ready because the old one was"
    with pytest.raises(UnknownInstance):
        registry.transition("orders-v1-0", "2", "ready")


def test_when_most_streams_end_together_nobody_is_withdrawn() -> None:
    registry = Registry()
    for number in range(4):
        up(registry, node(f"orders-v1-{number}"), number)
    for number in range(3):
        registry.disconnected(f"orders-v1-{number}", number, now=100.0)
    assert registry.tick(100.0 + GRACE + 1) == frozenset()
    assert len(ids(registry)) == 4
    assert registry.tick(100.0 + HOLD_LIMIT) == {"orders"}


def test_a_draining_instance_is_not_held_by_a_mass_loss() -> None:
    registry = Registry()
    for number in range(2):
        up(registry, node(f"orders-v1-{number}"), number, "draining")
        registry.disconnected(f"orders-v1-{number}", number, now=100.0)
    registry.tick(100.0 + GRACE)
    assert registry.entries == {}


def test_restored_instances_serve_at_once_and_have_longer_to_come_back() -> None:
    before = Registry()
    up(before, node(), 1)
    after = Registry()
    after.restore(before.entries.values(), now=50.0)
    assert ids(after) == ["orders-v1-0"]
    assert after.next_wake() == 50.0 + RESTORED_GRACE
    after.tick(50.0 + RESTORED_GRACE)
    assert after.next_wake() == 50.0 + STOPGAP_LIMIT


def test_a_version_without_a_ready_instance_keeps_its_restarting_one() -> None:
    registry = Registry()
    up(registry, node("orders-v1-0"), 1)
    up(registry, node("orders-v2-0", version="v2"), 2)
    registry.transition("orders-v2-0", "1", "restarting")
    assert ids(registry) == ["orders-v1-0", "orders-v2-0"]
    up(registry, node("orders-v2-1", version="v2"), 3)
    assert ids(registry) == ["orders-v1-0", "orders-v2-1"]


def test_health_marks_an_endpoint_and_never_removes_it() -> None:
    registry = Registry()
    up(registry, node(), 1)
    assert registry.health("orders-v1-0", healthy=False) == {"orders"}
    assert [e.healthy for e in registry.endpoints("orders")] == [False]
    assert registry.health("orders-v1-0", healthy=False) == frozenset()
    assert registry.health("unknown", healthy=True) == frozenset()


class Machine(RuleBasedStateMachine):
    """Any order of events: every change of endpoints is reported, and nothing is lost before its time."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.now = 0.0
        self.stream = 0
        self.open: dict[int, InstanceSpec] = {}
        self.told: dict[str, tuple] = {}
        self.newest: dict[str, str] = {}

    instances = st.sampled_from(["a-v1-0", "a-v1-1", "b-v1-0"])

    def take(self, services: frozenset[str]) -> None:
        for service in services:
            self.told[service] = self.registry.endpoints(service)

    @rule(instance=instances, boot=st.integers(1, 3))
    def connect(self, instance: str, boot: int) -> None:
        self.stream += 1
        given = node(instance, instance[0], boot=str(boot))
        try:
            self.take(self.registry.connected(given, "spiffe://x/y", self.stream))
            self.open[self.stream] = given
            self.newest[instance] = given.boot
        except StaleBoot:
            assert self.registry.entries[instance].node.boot > str(boot)

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        if self.open:
            stream = data.draw(st.sampled_from(sorted(self.open)))
            self.take(self.registry.disconnected(self.open.pop(stream).id, stream, self.now))

    @rule(instance=instances, state=st.sampled_from(["ready", "restarting", "draining"]))
    def say(self, instance: str, state: InstanceState) -> None:
        entry = self.registry.entries.get(instance)
        if entry is not None:
            self.take(self.registry.transition(instance, entry.node.boot, state))

    @rule(instance=instances, healthy=st.sampled_from([True, False, None]))
    def check(self, instance: str, healthy: bool | None) -> None:
        self.take(self.registry.health(instance, healthy))

    @rule(seconds=st.sampled_from([0.5, GRACE, RESTORED_GRACE, HOLD_LIMIT]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.registry.tick(self.now))
        wake = self.registry.next_wake()
        assert wake is None or wake > self.now

    @invariant()
    def endpoints_are_what_they_would_be_if_they_were_all_made_anew(self) -> None:
        for service, entries in self.registry._of_service.items():
            assert self.registry.endpoints(service) == made_anew(entries.values())
            assert self.registry.ready_versions(service) == {e.node.version for e in entries.values() if e.ready}

    @invariant()
    def every_change_was_told(self) -> None:
        for service in ("a", "b"):
            assert self.told.get(service, ()) == self.registry.endpoints(service)

    @invariant()
    def whoever_is_connected_by_its_newest_life_is_there(self) -> None:
        for given in self.open.values():
            if given.boot == self.newest.get(given.id):
                assert self.registry.entries[given.id].node.boot == given.boot
        self.newest = {i: boot for i, boot in self.newest.items() if i in self.registry.entries}


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestMachine = Machine.TestCase
