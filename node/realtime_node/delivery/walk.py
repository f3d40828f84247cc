"""What is done for each of many subscribers, in slices, where a channel's fan-out would be.

`losses` tells each of a loss, `dispatcher` gives each joiner of a crowd what follows its position.
A channel has one fan-out or walk at a time, so what comes behind waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from realtime_node.delivery.fanout import Fanout
    from realtime_node.delivery.subscribers import Subscriber

T = TypeVar("T")


class Walk(Generic[T]):
    """Does something for each of `items`."""

    __slots__ = ("_do", "_items", "_next", "_writes_each", "following")

    def __init__(
        self,
        items: Sequence[T],
        do: Callable[[T], None],
        *,
        writes_each: int,
        following: Fanout | None = None,
    ) -> None:
        """`writes_each` is what it takes for one, in writes of a pass; `following` comes behind."""
        self._items = items
        self._do = do
        self._writes_each = writes_each
        self._next = 0
        self.following = following

    def skip(self, subscriber: Subscriber) -> None:
        """Leave a subscriber that is gone out of what follows; what is done looks by itself."""
        if self.following is not None:
            self.following.skip(subscriber)

    def write_slice(self, limit: int) -> int:
        """Do it for as many as `limit` writes are worth, one at least; return the writes spent."""
        start = self._next
        count = max(limit // self._writes_each, 1)
        self._next = end = min(start + count, len(self._items))
        for item in self._items[start:end]:
            self._do(item)
        return (end - start) * self._writes_each

    def next_at(self) -> float:
        """Tell when the next slice is due: at once."""
        return 0.0

    @property
    def num_messages(self) -> int:
        """Messages in what follows."""
        return self.following.num_messages if self.following is not None else 0

    @property
    def is_finished(self) -> bool:
        """Whether it was done for everybody."""
        return self._next >= len(self._items)
