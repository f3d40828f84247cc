"""A token bucket in one number: how much may happen now, and when the next may.

Instead of tokens and the time of their last refill, a bucket is the moment at which it will be full
again (the generic cell rate algorithm). Pure: time is passed in. In any stretch of t seconds a
bucket gives at most `per_second` * t + `burst` tokens.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ROUNDING_S: Final = 1e-6
"""Who comes at the very moment that `wait_s` named has its token, whatever floats make of it."""


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
    return full_at if full_at - now <= rate.burst / rate.per_second + ROUNDING_S else None


def wait_s(full_at: float, count: int, rate: Rate, now: float) -> float:
    """Return how long it takes until `count` tokens, taken one by one, have been there."""
    if not rate.per_second:
        return 0.0
    missing_s = max(full_at - now, 0.0) + (count - rate.burst) / rate.per_second
    return missing_s if missing_s > ROUNDING_S else 0.0
