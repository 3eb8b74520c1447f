"""What is started and ended so that what runs becomes what is desired, and no request is lost."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from legation.host.desired import instance_id
from legation.host.rollout import End, Running, Start, plan
from legation.mesh.desired import ReplicaSet, WorkloadSpec

V1 = WorkloadSpec("web", "v1", ("node", "web.js"))
NEW = replace(V1, env=(("A", "1"),))
V2 = replace(V1, version="v2")
OTHER = replace(V1, service="orders")


def one(number: int, spec: WorkloadSpec = V1, *, ready: bool = True, outdated: bool = False) -> Running:
    return Running(f"web-{spec.version}-{number}", spec, ready=ready, outdated=outdated)


CASES = {
    "nothing runs: all start at once": ([ReplicaSet(V1, 2)], [], [Start(V1), Start(V1)]),
    "as desired": ([ReplicaSet(V1, 2)], [one(0), one(1)], []),
    "as desired, one is not ready": ([ReplicaSet(V1, 2)], [one(0), one(1, ready=False)], []),
    "one more": ([ReplicaSet(V1, 2)], [one(0)], [Start(V1)]),
    "one fewer: the youngest": ([ReplicaSet(V1, 1)], [one(0), one(1)], [End("web-v1-1")]),
    "one fewer: who is not ready goes first": ([ReplicaSet(V1, 1)], [one(0), one(1, ready=False)], [End("web-v1-1")]),
    "the service is gone": ([], [one(0), one(1, ready=False)], [End("web-v1-0"), End("web-v1-1")]),
    "an only instance changes: its successor starts first": (
        [ReplicaSet(NEW, 1)],
        [one(0)],
        [Start(NEW, instead_of="web-v1-0")],
    ),
    "its successor is not ready: it serves on": ([ReplicaSet(NEW, 1)], [one(0), one(1, NEW, ready=False)], []),
    "its successor is ready: it ends": ([ReplicaSet(NEW, 1)], [one(0), one(1, NEW)], [End("web-v1-0")]),
    "two change, one at a time": ([ReplicaSet(NEW, 2)], [one(0), one(1)], [Start(NEW, instead_of="web-v1-0")]),
    "two change, the first successor is not ready": (
        [ReplicaSet(NEW, 2)],
        [one(0), one(1), one(2, NEW, ready=False)],
        [],
    ),
    "two change, the first successor is ready": (
        [ReplicaSet(NEW, 2)],
        [one(0), one(1), one(2, NEW)],
        [End("web-v1-0")],
    ),
    "two change, the second one's turn": (
        [ReplicaSet(NEW, 2)],
        [one(1), one(2, NEW)],
        [Start(NEW, instead_of="web-v1-1")],
    ),
    "a successor that never got ready is replaced without a wait": (
        [ReplicaSet(replace(NEW, command=("mended",)), 1)],
        [one(0), one(1, NEW, ready=False)],
        [End("web-v1-1"), Start(replace(NEW, command=("mended",)), instead_of="web-v1-0")],
    ),
    "who was asked to end is replaced though it is right": (
        [ReplicaSet(V1, 1)],
        [one(0, outdated=True)],
        [Start(V1, instead_of="web-v1-0")],
    ),
    "who failed for good is replaced at once": (
        [ReplicaSet(V1, 1)],
        [one(0, ready=False, outdated=True)],
        [End("web-v1-0"), Start(V1)],
    ),
    "another version: the old one serves until it is there": (
        [ReplicaSet(V2, 1)],
        [one(0), one(0, V2, ready=False)],
        [],
    ),
    "another version is there: the old one ends": ([ReplicaSet(V2, 1)], [one(0), one(0, V2)], [End("web-v1-0")]),
    "services do not wait for each other": (
        [ReplicaSet(NEW, 1), ReplicaSet(OTHER, 1)],
        [one(0), one(1, NEW, ready=False)],
        [Start(OTHER)],
    ),
    "fewer and other at once": ([ReplicaSet(NEW, 1)], [one(0), one(1)], [End("web-v1-0")]),
    "fewer while successors start: those that are not needed end at once": (
        [ReplicaSet(V1, 1)],
        [one(0, outdated=True), one(1, ready=False), one(2, ready=False)],
        [End("web-v1-1")],
    ),
    "none": ([ReplicaSet(V1, 0)], [one(0)], [End("web-v1-0")]),
}


@pytest.mark.parametrize("case", CASES)
def test_next_actions(case: str) -> None:
    desired, running, expected = CASES[case]
    assert list(plan(desired, running)) == expected


class Rollouts(RuleBasedStateMachine):
    """Any changes, at any moment: never fewer ready than there were or are desired, never more than one above."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = ReplicaSet(V1, 2)
        self.running: dict[str, Running] = {}
        self.floor = 0

    def ready(self) -> int:
        return sum(r.ready for r in self.running.values())

    @rule()
    def reconcile(self) -> None:
        self.floor = min(self.ready(), self.desired.replicas)
        for action in plan([self.desired], list(self.running.values())):
            if isinstance(action, Start):
                name = instance_id(action.spec, self.running)
                self.running[name] = Running(name, action.spec)
            else:
                del self.running[action.id]
        assert self.ready() >= self.floor, "a rollout takes nobody away who is needed"
        current = [r for r in self.running.values() if r.spec == self.desired.spec and not r.outdated]
        assert len(current) <= max(self.desired.replicas, len(current))
        assert len([r for r in current if not r.ready]) <= max(1, self.desired.replicas)

    @rule(data=st.data())
    def one_gets_ready(self, data: st.DataObject) -> None:
        waiting = sorted(i for i, r in self.running.items() if not r.ready)
        if waiting:
            name = data.draw(st.sampled_from(waiting))
            self.running[name] = replace(self.running[name], ready=True)

    @rule(data=st.data())
    def one_is_asked_to_end(self, data: st.DataObject) -> None:
        if self.running:
            name = data.draw(st.sampled_from(sorted(self.running)))
            self.running[name] = replace(self.running[name], outdated=True)

    @rule(replicas=st.integers(1, 3), env=st.sampled_from(["1", "2", "3"]))
    def another_mesh_file(self, replicas: int, env: str) -> None:
        self.desired = ReplicaSet(replace(V1, env=(("A", env),)), replicas)

    @invariant()
    def it_ends_where_it_should(self) -> None:
        """From any state, if everything that starts gets ready."""
        running = dict(self.running)
        for _ in range(50):
            actions = plan([self.desired], list(running.values()))
            for action in actions:
                if isinstance(action, Start):
                    name = instance_id(action.spec, running)
                    running[name] = Running(name, action.spec)
                else:
                    del running[action.id]
            waiting = [i for i, r in running.items() if not r.ready]
            running = {i: replace(r, ready=True) for i, r in running.items()}
            if not actions and not waiting:
                break
        assert {(r.spec, r.outdated) for r in running.values()} == {(self.desired.spec, False)}
        assert len(running) == self.desired.replicas


Rollouts.TestCase.settings = settings(max_examples=100, stateful_step_count=25)
TestRollouts = Rollouts.TestCase
