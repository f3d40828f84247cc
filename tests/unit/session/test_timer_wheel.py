"""The wheel: nobody is woken early, nobody is forgotten, and who left sleeps on."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from realtime_node.session.timer_wheel import RESOLUTION, TimerWheel
from tests.support.selection import examples


class Sleeper:
    """Somebody who sleeps."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.wheel_bucket: int | None = None


def test_wakes_at_the_deadline_and_not_before() -> None:
    """A deadline on a bucket's edge is met on it."""
    wheel: TimerWheel[Sleeper] = TimerWheel(0)
    sleeper = Sleeper()
    wheel.sleep(sleeper, 10)
    assert wheel.wake(10 - RESOLUTION / 2) == []
    assert wheel.wake(10) == [sleeper]
    assert wheel.wake(1000) == []
    assert len(wheel) == 0


def test_last_wish_counts() -> None:
    """Whoever asks again is woken at the new time only, earlier or later."""
    for first, second in ((10, 20), (20, 10)):
        wheel: TimerWheel[Sleeper] = TimerWheel(0)
        sleeper = Sleeper()
        wheel.sleep(sleeper, first)
        wheel.sleep(sleeper, second)
        assert len(wheel) == 1
        assert [now for now in range(30) if wheel.wake(now)] == [second]


def test_forgotten_sleeper_is_never_woken() -> None:
    """Forgetting is final, and forgetting who does not sleep is no error."""
    wheel: TimerWheel[Sleeper] = TimerWheel(0)
    sleeper, other = Sleeper(), Sleeper()
    for each in (sleeper, other):
        wheel.sleep(each, 10)
    wheel.forget(sleeper)
    wheel.forget(sleeper)
    assert wheel.wake(10) == [other]
    wheel.forget(other)


def test_deadline_in_the_past_is_met_at_the_next_turn() -> None:
    """Who is late already waits for one bucket at most."""
    wheel: TimerWheel[Sleeper] = TimerWheel(100)
    sleeper = Sleeper()
    wheel.sleep(sleeper, 5)
    assert wheel.wake(100 + RESOLUTION) == [sleeper]


def test_who_sleeps_forever_is_never_woken() -> None:
    """A session without any deadline takes no room in the wheel."""
    wheel: TimerWheel[Sleeper] = TimerWheel(0)
    sleeper = Sleeper()
    wheel.sleep(sleeper, 1)
    wheel.sleep(sleeper, math.inf)
    assert len(wheel) == 0
    assert wheel.wake(1e9) == []


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(100, 1e7))
def test_after_a_long_stop_everybody_is_woken_in_order(deadlines: list[float], now: float) -> None:
    """A loop that stood still for hours wakes all at once, the earliest bucket first."""
    wheel: TimerWheel[Sleeper] = TimerWheel(0)
    by_sleeper = {Sleeper(): until for until in deadlines}
    for sleeper, until in by_sleeper.items():
        wheel.sleep(sleeper, until)
    woken = [by_sleeper[sleeper] for sleeper in wheel.wake(now + RESOLUTION)]
    assert sorted(woken) == sorted(deadlines)
    assert woken == sorted(woken, key=lambda until: max(math.ceil(until / RESOLUTION), 1))


class WheelModel(RuleBasedStateMachine):
    """The wheel against a table of deadlines."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.wheel: TimerWheel[Sleeper] = TimerWheel(self.now)
        self.sleepers = [Sleeper(str(number)) for number in range(5)]
        self.due: dict[Sleeper, tuple[float, float]] = {}
        """Not before and not after which turn of the wheel everybody is to be woken."""

    @rule(which=st.integers(0, 4), seconds=st.floats(-5, 30))
    def sleep(self, which: int, seconds: float) -> None:
        """Somebody asks to be woken."""
        until = self.now + seconds
        self.wheel.sleep(self.sleepers[which], until)
        self.due[self.sleepers[which]] = (until, max(until, self.now) + RESOLUTION)

    @rule(which=st.integers(0, 4))
    def forget(self, which: int) -> None:
        """Somebody goes."""
        self.wheel.forget(self.sleepers[which])
        self.due.pop(self.sleepers[which], None)

    @rule(seconds=st.floats(0, 3) | st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        """The wheel is turned; then nobody sleeps whose time came one resolution ago."""
        self.now += seconds
        for sleeper in self.wheel.wake(self.now):
            not_before, _ = self.due.pop(sleeper)
            assert not_before <= self.now, "woken early"
        for _, not_after in self.due.values():
            assert self.now < not_after, "woken late"

    @invariant()
    def everybody_sleeps_once(self) -> None:
        """The wheel holds who asked, once."""
        assert len(self.wheel) == len(self.due)
        for sleeper in self.sleepers:
            assert (sleeper.wheel_bucket is not None) == (sleeper in self.due)


TestWheelModel = WheelModel.TestCase
TestWheelModel.settings = settings(max_examples=examples(150))
