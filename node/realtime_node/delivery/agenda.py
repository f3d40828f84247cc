"""When channels that wait for their time are to be looked at again.

One heap and one timer serve all channels of a node. Pure: time is passed in.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T")

RESOLUTION_S: Final = 0.001
"""What a loop's timers may come too early by."""


class Agenda(Generic[T]):
    """Items by the time at which they are due, in seconds of one monotonic clock."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        """Begin empty."""
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()  # between equal times the first put comes first

    def put(self, due: float, item: T) -> bool:
        """Note an item; return whether it is now the next."""
        heapq.heappush(self._heap, (due, next(self._numbers), item))
        return self._heap[0][2] is item

    def next_due(self) -> float | None:
        """Return when the next item is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float, most: int) -> list[tuple[float, T]]:
        """Remove and return up to `most` items that are due, each with its time, in order."""
        due: list[tuple[float, T]] = []
        while self._heap and self._heap[0][0] <= now + RESOLUTION_S and len(due) < most:
            at, _, item = heapq.heappop(self._heap)
            due.append((at, item))
        return due
