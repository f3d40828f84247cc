"""How fast a connection may send: a token bucket in one number.

Instead of tokens and the time of their last refill, a connection keeps the moment at which its
bucket will be full again (the generic cell rate algorithm). Pure: time is passed in.
"""

from __future__ import annotations

from typing import NamedTuple


class Rate(NamedTuple):
    """A bucket of `burst` tokens that gets `per_second` new ones."""

    per_second: float
    """0: no limit."""
    burst: int


def spend(full_at: float, cost: int, rate: Rate, now: float) -> float | None:
    """Take `cost` tokens out of a bucket that will be full at `full_at`.

    Returns when it will be full again, or None if it does not hold so many.
    """
    if not rate.per_second:
        return full_at
    full_at = max(full_at, now) + cost / rate.per_second
    return full_at if full_at - now <= rate.burst / rate.per_second else None
