"""A loss on its way to everybody who follows a channel's stream, slice by slice.

It takes the place of a fan-out, so that order holds: what was being written before the loss is
finished, then everybody is told, and only then the next frame is made. A subscriber that is told
has ended its subscription by that; it comes back as a joiner and recovers from its position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.delivery.subscribers import Subscriber

WRITES_PER_TELLING: Final = 8
"""What it takes to end one subscription, in writes of a pass: a push of its own, and the record."""


class LossFanout:
    """Tells some subscribers of a channel that they missed something."""

    __slots__ = ("_left", "_next", "_subscribers", "_tell")

    num_messages: Final = 0
    """It brings none."""

    def __init__(
        self, subscribers: Sequence[Subscriber], tell: Callable[[Subscriber], None]
    ) -> None:
        """Call `tell` for each of `subscribers` that has not left before its turn."""
        self._subscribers = subscribers
        self._tell = tell
        self._left: set[Subscriber] = set()
        self._next = 0

    def skip(self, subscriber: Subscriber) -> None:
        """Leave out a subscriber that is gone: if it is back, it missed nothing."""
        self._left.add(subscriber)

    def write_slice(self, limit: int) -> int:
        """Tell as many as `limit` writes are worth, one at least; return the writes spent."""
        start = self._next
        count = max(limit // WRITES_PER_TELLING, 1)
        self._next = end = min(start + count, len(self._subscribers))
        for subscriber in self._subscribers[start:end]:
            if subscriber not in self._left:
                self._tell(subscriber)
        return (end - start) * WRITES_PER_TELLING

    def next_at(self) -> float:
        """Tell when the next slice is due: at once."""
        return 0.0

    @property
    def is_finished(self) -> bool:
        """Whether everybody was told."""
        return self._next >= len(self._subscribers)
