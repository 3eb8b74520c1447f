"""Starts and ends of instances, as the registry tells of them."""

from msgspec.structs import replace

from telemetry.rollouts import Rollouts
from tests.telemetry.registry import instance


def test_a_start_ends_when_the_instance_serves_and_an_end_when_it_is_gone() -> None:
    rollouts, old, new = Rollouts(), instance(1), instance(2)
    starting = replace(new, state="starting", synced=False)
    draining = replace(old, state="draining")
    seen = [
        [(s.name, s.said["legation.instance"], s.start, s.end, s.failure) for s in rollouts.look(present, float(now))]
        for now, present in enumerate(
            ([old], [old, starting], [old, replace(new, synced=False)], [old, new], [draining, new], [draining, new],
             [new], [new], [new, instance(3, state="starting")], [new])
        )
    ]  # fmt: skip
    assert [one for look in seen for one in look] == [
        ("start instance", "web-v1-2", 1.0, 3.0, None),
        ("end instance", "web-v1-1", 4.0, 6.0, None),
        ("start instance", "web-v1-3", 8.0, 9.0, "it is gone before it served"),
    ]
    assert seen[0] == [], "what was there before is no start"
