"""The door of a node."""

from __future__ import annotations

import pytest

from realtime_node.admission.door import Door
from tests.support.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test moves."""
    return FakeClock()


def test_an_open_door_refuses_nobody(clock: FakeClock) -> None:
    """It is open from the start, and open again after a cordon was taken back."""
    door = Door(clock, lambda: 0.5)
    assert door.refusal() is None
    door.cordon("this node is draining")
    door.uncordon()
    assert (door.refusal(), door.is_cordoned) == (None, False)


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 1), (0.999, 2)])
def test_a_cordoned_door_says_why_and_when_to_come_back(
    clock: FakeClock, random: float, seconds: int
) -> None:
    """The reason is the cordon's, the time not the same for everybody."""
    door = Door(clock, lambda: random)
    door.cordon("this node is draining")
    assert door.is_cordoned
    assert door.refusal() == ("this node is draining", seconds)


def test_the_last_one_let_in_is_remembered(clock: FakeClock) -> None:
    """Their number and the time of the last tell whether a balancer still sends clients."""
    door = Door(clock, lambda: 0.0)
    clock.advance(3)
    door.accepted()
    clock.advance(4)
    assert (door.accepted_total, clock() - door.accepted_at) == (1, 4)
