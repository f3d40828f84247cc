"""A token bucket in one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime_node.admission.token_bucket import Rate, spend, wait_s

RATE = Rate(per_second=10, burst=20)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 15)), max_size=40))
def test_no_more_passes_than_the_bucket_holds_and_gets(steps: list[tuple[float, int]]) -> None:
    """In any span what passed is at most the burst and what was refilled; nothing less is refused.

    Held against a bucket with tokens and a clock.
    """
    full_at, tokens, now = 0.0, 20.0, 1000.0
    for wait, cost in steps:
        now += wait
        tokens = min(20.0, tokens + wait * 10)
        after = spend(full_at, cost, RATE, now)
        if abs(tokens - cost) > 1e-4:
            assert (after is not None) == (tokens >= cost)
        if after is not None:
            full_at, tokens = after, tokens - cost


def test_without_a_rate_everything_passes() -> None:
    """0 is no limit."""
    assert spend(0, 10**9, Rate(0, 1), 1000) == 0


@given(
    st.lists(st.floats(0, 1), max_size=200),
    st.sampled_from([Rate(0.5, 1), Rate(10, 1), Rate(10, 20), Rate(5000, 500)]),
)
def test_no_window_sees_more_than_rate_and_burst(gaps: list[float], rate: Rate) -> None:
    """In any t seconds at most rate x t + burst tokens are given, whenever they are asked for."""
    full_at, now, taken = 0.0, 1000.0, []
    for gap in gaps:
        now += gap / rate.per_second
        after = spend(full_at, 1, rate, now)
        if after is not None:
            full_at = after
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            most = rate.per_second * (taken[last] - start) + rate.burst
            assert last - first + 1 <= most + 0.01


@given(st.integers(0, 50), st.integers(1, 60), st.floats(0, 5))
def test_the_wait_that_is_told_is_the_wait_there_is(before: int, count: int, passed: float) -> None:
    """After `wait_s` the tokens are there, one after the other, and not noticeably before."""
    full_at, now = 1000.0 + before / RATE.per_second, 1000.0 + passed
    wait = wait_s(full_at, count, RATE, now)

    def can_take_all(now: float) -> bool:
        bucket = full_at
        start = now - (count - 1) / RATE.per_second
        for number in range(count):
            at = max(start + number / RATE.per_second, 1000.0 + passed)
            after = spend(bucket, 1, RATE, at)
            if after is None:
                return False
            bucket = after
        return True

    assert can_take_all(now + wait)
    assert wait < 1e-5 or not can_take_all(now + wait - 1e-5)


def test_without_a_rate_nobody_waits() -> None:
    """0 is no limit, so every token is there."""
    assert wait_s(0, 10**9, Rate(0, 1), 1000) == 0
