"""One timer for all sessions: a wheel of buckets instead of a timer handle per client.

With 10,000 clients a handle each would be 10,000 heap entries moved at every ping. Here a session
stands in the bucket of its next deadline, and one tick looks at the buckets that are due. A
deadline is met up to one resolution late, never early. Pure: time is passed in.
"""

from __future__ import annotations

import math
from typing import Final, Generic, Protocol, TypeVar

RESOLUTION: Final = 0.25
"""Seconds per bucket: pings of a bucket go out together, so it also spreads them."""


class Sleeper(Protocol):
    """Who stands in the wheel; the attribute is the wheel's own note."""

    wheel_bucket: int | None


S = TypeVar("S", bound=Sleeper)


class TimerWheel(Generic[S]):
    """Sleepers by the time they want to be woken, in seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        """Start the wheel at `now`."""
        self._buckets: dict[int, dict[S, None]] = {}
        self._turned_to = math.floor(now / RESOLUTION)

    def __len__(self) -> int:
        """Return how many sleep."""
        return sum(map(len, self._buckets.values()))

    def sleep(self, sleeper: S, until: float) -> None:
        """Wake `sleeper` at `until` (infinity: never), whatever it asked for before."""
        self.forget(sleeper)
        if until == math.inf:
            return
        bucket = max(math.ceil(until / RESOLUTION), self._turned_to + 1)
        self._buckets.setdefault(bucket, {})[sleeper] = None
        sleeper.wheel_bucket = bucket

    def forget(self, sleeper: S) -> None:
        """Never wake `sleeper`; no error if it does not sleep."""
        if sleeper.wheel_bucket is None:
            return
        bucket = self._buckets[sleeper.wheel_bucket]
        del bucket[sleeper]
        if not bucket:
            del self._buckets[sleeper.wheel_bucket]
        sleeper.wheel_bucket = None

    def wake(self, now: float) -> list[S]:
        """Remove and return everybody whose time has come, earliest first."""
        turn_to = math.floor(now / RESOLUTION)
        if turn_to - self._turned_to > len(self._buckets):
            due = sorted(bucket for bucket in self._buckets if bucket <= turn_to)
        else:
            due = [b for b in range(self._turned_to + 1, turn_to + 1) if b in self._buckets]
        self._turned_to = max(turn_to, self._turned_to)
        woken: list[S] = []
        for bucket in due:
            woken.extend(self._buckets.pop(bucket))
        for sleeper in woken:
            sleeper.wheel_bucket = None
        return woken
