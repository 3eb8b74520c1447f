"""The order in which an instance ends."""

import pytest

from legation.sidecar.drain import CLOSE_LIMIT, GATEWAY, IDLE_LIMIT, Drain, Step


def idle_machine() -> Drain:
    machine = Drain(now=0.0)
    machine.done(0.1)
    machine.done(0.2)
    return machine


def test_the_order_is_that_which_lost_nothing() -> None:
    machine = Drain(now=0.0)
    seen = [machine.step]
    while machine.step is not Step.DONE:
        seen.append(machine.active(0, 0, 1.0) if machine.step is Step.AWAIT_IDLE else machine.done(1.0))
    order = list(dict.fromkeys(seen))
    assert order == [
        Step.WITHDRAW, Step.DRAIN_LISTENERS, Step.AWAIT_IDLE, Step.STOP_APP, Step.STOP_ENVOY, Step.DONE
    ]  # fmt: skip


def test_idle_is_no_request_twice_in_a_row() -> None:
    machine = idle_machine()
    assert machine.active(0, 0, 1.0) is Step.AWAIT_IDLE
    assert machine.active(1, 0, 1.1) is Step.AWAIT_IDLE, "a request came in between: it counts from the start"
    assert machine.active(0, 0, 1.2) is Step.AWAIT_IDLE
    assert machine.active(0, 0, 1.3) is Step.STOP_APP


def test_a_request_that_never_ends_does_not_hold_an_instance_for_ever() -> None:
    machine = idle_machine()
    assert machine.active(1, 0, 0.2 + IDLE_LIMIT - 0.01) is Step.AWAIT_IDLE
    assert machine.active(1, 0, 0.2 + IDLE_LIMIT) is Step.STOP_APP


def test_samples_out_of_turn_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        Drain(now=0.0).active(0, 0, 0.0)


def gateway_machine() -> Drain:
    machine = Drain(now=0.0, order=GATEWAY)
    for _ in range(3):
        machine.done(0.0)
    return machine


def test_a_gateway_stops_accepting_before_it_is_idle_and_has_no_app() -> None:
    assert GATEWAY == (
        Step.WITHDRAW, Step.DRAIN_LISTENERS, Step.STOP_ACCEPTING, Step.AWAIT_IDLE, Step.STOP_ENVOY, Step.DONE
    )  # fmt: skip


@pytest.mark.parametrize(("made", "after"), [(idle_machine, Step.STOP_APP), (gateway_machine, Step.STOP_ENVOY)])
def test_idle_is_no_connection_either_and_not_for_ever(made, after) -> None:
    machine = made()
    assert machine.active(0, 3, 1.0) is Step.AWAIT_IDLE
    assert machine.active(0, 3, 1.1) is Step.AWAIT_IDLE, "one of them may be in its handshake"
    assert machine.active(0, 0, 1.2) is after
    machine = made()
    assert machine.active(0, 3, 1.0) is Step.AWAIT_IDLE
    assert machine.active(0, 3, 1.0 + CLOSE_LIMIT - 0.1) is Step.AWAIT_IDLE
    assert machine.active(0, 3, 1.0 + CLOSE_LIMIT) is after
