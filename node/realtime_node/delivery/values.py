"""What waits in a channel of newest values: one message of each key, in the order of the stream.

A value leaves as soon as a newer one of its key comes, so what waits is bounded by the number of
keys, however long the interval is and however often values change. Its place in the stream stays
known: the message that waits behind it says how many publications it `skipped`, so that who follows
the stream can tell a value that was superseded from one that is missing.

Pure. It has the methods of a deque that `take_batch` needs, and takes the place of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from realtime_node.delivery.batching import Audience, Waiting

_Key = tuple[Audience, str, bool]


def _key_of(message: Waiting) -> _Key:
    # A publication outside the history takes no place in the stream, so it supersedes none there.
    return message.audience, message.key, message.offset > 0


class Values:
    """The newest message of each key."""

    __slots__ = ("_before", "_epoch", "_is_whole", "_last", "_newest")

    def __init__(self) -> None:
        """Begin empty."""
        self._newest: OrderedDict[_Key, Waiting] = OrderedDict()
        self._last = 0
        """The offset of the last publication that waits; 0: none with an offset does."""
        self._epoch = ""
        self._before = 0
        """The offset before everything that waits or was superseded."""
        self._is_whole = True
        """Whether there is no hole between the publications that came. Behind one nothing counts
        as superseded: subscribers who recover once too often lose nothing."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._newest)

    def __reversed__(self) -> Iterator[Waiting]:
        """Iterate from the newest to the oldest."""
        return reversed(self._newest.values())

    def put(self, message: Waiting) -> Waiting | None:
        """Let a message wait; return the one that leaves for it."""
        if message.offset:
            self._follow(message)
        key = _key_of(message)
        superseded = self._newest.pop(key, None)
        self._newest[key] = message
        return superseded

    def _follow(self, message: Waiting) -> None:
        if not self._last:
            self._before = message.offset - 1 - message.skipped
            self._is_whole = True
        elif message.offset - message.skipped != self._last + 1 or message.epoch != self._epoch:
            self._is_whole = False
        self._last, self._epoch = message.offset, message.epoch

    def popleft(self) -> Waiting:
        """Remove and return the oldest."""
        _, message = self._newest.popitem(last=False)
        if not message.offset:
            return message
        if self._is_whole:
            skipped = message.offset - 1 - self._before
            self._before = message.offset
            if skipped != message.skipped:
                message = message._replace(skipped=skipped)
        if message.offset == self._last and message.epoch == self._epoch:
            self._last = 0
        return message

    def appendleft(self, message: Waiting) -> None:
        """Put back what was taken just before."""
        key = _key_of(message)
        self._newest[key] = message
        self._newest.move_to_end(key, last=False)
        if not message.offset:
            return
        if not self._last:
            self._last, self._epoch = message.offset, message.epoch
        self._before = message.offset - 1 - message.skipped

    def clear(self) -> None:
        """Let go of everything."""
        self._newest.clear()
        self._last = 0
