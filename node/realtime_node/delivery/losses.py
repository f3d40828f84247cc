"""A loss on its way to everybody who follows a channel's stream, slice by slice.

It takes the place of a fan-out, so that order holds: what was being written before the loss is
finished, then everybody is told, and only then the next frame is made. A subscriber that is told
has ended its subscription by that; it comes back as a joiner and recovers from its position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.delivery.subscribers import Subscriber
from realtime_node.delivery.walk import Walk

WRITES_PER_TELLING: Final = 8
"""What it takes to end one subscription, in writes of a pass: a push of its own, and the record."""


class LossFanout(Walk[Subscriber]):
    """Tells some subscribers of a channel that they missed something."""

    __slots__ = ("_left", "_tell")

    def __init__(
        self, subscribers: Sequence[Subscriber], tell: Callable[[Subscriber], None]
    ) -> None:
        """Call `tell` for each of `subscribers` that has not left before its turn."""
        super().__init__(subscribers, self._tell_if_there, writes_each=WRITES_PER_TELLING)
        self._tell = tell
        self._left: set[Subscriber] = set()

    def skip(self, subscriber: Subscriber) -> None:
        """Leave out a subscriber that is gone: if it is back, it missed nothing."""
        self._left.add(subscriber)

    def _tell_if_there(self, subscriber: Subscriber) -> None:
        if subscriber not in self._left:
            self._tell(subscriber)
