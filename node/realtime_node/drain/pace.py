"""When the next client goes: an even pace, with jitter, that never makes up for lost time. Pure.

At a rate of one client every `i` seconds the n-th is due within the first half of its slot
`[n*i, (n+1)*i)`. So two follow each other after i/2 to 3i/2, i on average, and in any span of time
there are at most one or two more than the rate says, whatever the dice do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

LATE_S: Final = 0.05
"""What was not done in time because the loop was busy is made up for, up to so much."""
BATCH_S: Final = 0.1
"""About the time between two batches of those who are forced to go."""


class Pace:
    """Slots that follow each other at a rate which may change between two of them."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` in [0, 1)."""
        self._random = random
        self._slot_at = float("-inf")
        self._jitter = random()

    def due_at(self, rate_per_s: float, now: float) -> float:
        """Return when the next client goes, or went; an infinite rate: now."""
        into_slot = self._jitter / (2 * rate_per_s)
        # Whoever is later than this goes now, and the next slots follow from here.
        self._slot_at = max(self._slot_at, now - LATE_S - into_slot)
        return self._slot_at + into_slot

    def took(self, rate_per_s: float) -> None:
        """Go on to the next slot."""
        self._slot_at += 1 / rate_per_s
        self._jitter = self._random()


class Permits:
    """The permits in our hands, and until when they count."""

    def __init__(self) -> None:
        self._left = 0
        self._ends_at = 0.0

    def hold(self, permits: int, ends_at: float) -> None:
        """Take new ones in the place of those that are left."""
        self._left, self._ends_at = permits, ends_at

    def has_one(self, now: float) -> bool:
        """Whether there is one that counts."""
        return self._left > 0 and now < self._ends_at

    def use(self) -> None:
        """Use one up."""
        self._left -= 1


def wanted(rate_per_s: float, remaining: int) -> int:
    """Return how many permits could be used within a second."""
    return max(1, remaining if rate_per_s > remaining else math.ceil(rate_per_s))


class Batch(NamedTuple):
    """Clients to close now, and when to look again."""

    clients: int
    wake_at: float


def forced(remaining: int, closed_by: float, now: float, random: float) -> Batch:
    """Return the next of the batches in which all who remain are closed by a time."""
    gap_s = BATCH_S * (0.5 + random)
    left_s = closed_by - now
    if left_s <= gap_s:
        return Batch(remaining, now)
    return Batch(math.ceil(remaining * gap_s / left_s), now + gap_s)
