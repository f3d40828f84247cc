"""A token bucket in one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime_node.session.rate import Rate, spend

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
        if abs(tokens - cost) > 1e-6:
            assert (after is not None) == (tokens >= cost)
        if after is not None:
            full_at, tokens = after, tokens - cost


def test_without_a_rate_everything_passes() -> None:
    """0 is no limit."""
    assert spend(0, 10**9, Rate(0, 1), 1000) == 0
