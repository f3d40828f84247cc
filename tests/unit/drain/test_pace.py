"""When the next client goes, whatever the dice, the rate and a busy loop do."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.drain.pace import LATE_S, Pace, Permits, forced, wanted
from tests.support.draining import busiest_second

DICE = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.999]), min_size=1, max_size=20)


def dice(rolls: list[float]) -> Random:
    """Random numbers that repeat."""

    class Dice(Random):
        at = -1

        def random(self) -> float:
            self.at += 1
            return rolls[self.at % len(rolls)]

    return Dice()


def closes(pace: Pace, rate: float, *, until: float, lag_s: float = 0.0) -> list[float]:
    """When clients go, from 0 on, in a loop that is late by up to `lag_s`."""
    now, times = 0.0, []
    lag = Random(1)  # noqa: S311 - dice
    while now < until:
        due = pace.due_at(rate, now)
        if due > now:
            now = due + lag.random() * lag_s
            continue
        pace.took(rate)
        times.append(now)
    return times


@given(rate=st.floats(5, 2000), rolls=DICE)
def test_no_second_has_more_than_a_third_above_the_rate(rate: float, rolls: list[float]) -> None:
    """However the dice fall, any second has at most 1.3 times the rate."""
    times = closes(Pace(dice(rolls).random), rate, until=3.0)
    assert busiest_second(times, span_s=0.9999) <= 1.3 * rate


@given(rate=st.floats(0.1, 5), rolls=DICE)
def test_a_slow_pace_is_never_more_than_two_ahead(rate: float, rolls: list[float]) -> None:
    """Below five a second a whole client is more than a third."""
    times = closes(Pace(dice(rolls).random), rate, until=20 / rate)
    assert busiest_second(times, span_s=0.9999) <= rate + 2


@given(rate=st.floats(0.1, 19), rolls=DICE)
def test_gaps_are_from_half_to_one_and_a_half_intervals(rate: float, rolls: list[float]) -> None:
    """And one interval on average, so that the drain keeps its time."""
    times = closes(Pace(dice(rolls).random), rate, until=50 / rate)
    gaps = [later - sooner for sooner, later in pairwise(times[1:])]
    assert all(0.499 / rate <= gap <= 1.501 / rate for gap in gaps)
    assert sum(gaps) / len(gaps) == pytest.approx(1 / rate, rel=0.03)


@pytest.mark.parametrize("rate", [20, 200, 1000])
def test_a_busy_loop_keeps_the_pace(rate: float) -> None:
    """A loop that is up to 40 ms late closes as many, and hardly more in any second."""
    times = closes(Pace(Random(2).random), rate, until=10.0, lag_s=0.04)  # noqa: S311 - dice
    assert len(times) == pytest.approx(10 * rate, rel=0.05)
    assert busiest_second(times) <= 1.3 * rate


def test_lost_time_is_not_made_up_for() -> None:
    """After a minute in which nothing could be closed there is no burst."""
    pace = Pace(Random(3).random)  # noqa: S311 - dice
    closes(pace, 100, until=1.0)
    now, burst = 61.0, 0
    while pace.due_at(100, now) <= now:
        pace.took(100)
        burst += 1
    assert burst <= 100 * LATE_S + 1


# --- permits ----------------------------------------------------------------------------------


def test_a_permit_is_used_once_and_in_time() -> None:
    """What is not used within its life is lost."""
    permits = Permits()
    assert not permits.has_one(0.0)
    permits.hold(2, 10.0)
    permits.use()
    assert permits.has_one(9.9)
    assert not permits.has_one(10.0)
    permits.use()
    assert not permits.has_one(9.0)


@pytest.mark.parametrize(
    ("rate", "remaining", "count"),
    [(float("inf"), 500, 500), (30.2, 500, 31), (30.0, 7, 7), (0.1, 500, 1), (5.0, 0, 1)],
)
def test_what_can_be_used_within_a_second_is_asked_for(
    rate: float, remaining: int, count: int
) -> None:
    """Neither more than the rate nor more than there are clients; always one."""
    assert wanted(rate, remaining) == count


# --- forcing ----------------------------------------------------------------------------------


@given(remaining=st.integers(1, 50_000), span_s=st.floats(0.001, 10), seed=st.integers())
def test_all_are_closed_by_the_time(remaining: int, span_s: float, seed: int) -> None:
    """In batches, none of them much larger than its part of the time, and the last in time."""
    now, left, random = 0.0, remaining, Random(seed)  # noqa: S311 - dice
    while left:
        batch = forced(left, span_s, now, random.random())
        assert batch.clients <= left
        if batch.wake_at > now:
            assert batch.clients <= remaining * 0.15 / span_s + 2
        left -= batch.clients
        assert not left or batch.wake_at > now
        now = batch.wake_at
    assert now <= span_s
