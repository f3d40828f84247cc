"""Joining: from the question to the backplane to the first frame that is shared.

A subscriber learns its position from the backplane's answer, while publications reach the node
through the inbox, and either may be ahead of the other. So a subscription begins as a `Joiner`,
registered before the question is asked:

- without an answer it keeps whatever is delivered meanwhile, since it may lie beyond its position;
- the answer gives it a position. From then on it takes from each batch what follows its position.

As soon as its position is the channel's, it becomes a member and shares every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from realtime_node.delivery.batching import Waiting
from realtime_node.delivery.subscribers import Subscriber
from realtime_node.protocol.messages import StreamPosition

MAX_KEPT_MESSAGES: Final = 1024
"""Kept for one joiner while its answer is awaited; beyond, its subscribe fails and is repeated."""


class Joiner:
    """A subscriber between its question to the backplane and its first shared frame."""

    __slots__ = ("epoch", "is_incomplete", "kept", "position", "subscriber", "wants_join_leave")

    def __init__(self, subscriber: Subscriber, *, wants_join_leave: bool) -> None:
        """Start without an answer: everything delivered from now on is kept."""
        self.subscriber = subscriber
        self.wants_join_leave = wants_join_leave
        self.position: int | None = None
        self.epoch = ""
        self.kept: list[Waiting] = []
        self.is_incomplete = False

    def keep(self, batch: Sequence[Waiting]) -> None:
        """Keep a batch that may lie beyond the position still to come."""
        if len(self.kept) + len(batch) > MAX_KEPT_MESSAGES:
            self.give_up_keeping()
        if not self.is_incomplete:
            self.kept.extend(batch)

    def give_up_keeping(self) -> None:
        """Note that not everything delivered meanwhile could be kept."""
        self.is_incomplete = True
        self.kept.clear()

    def answer(self, top: StreamPosition) -> None:
        """Take the position that the subscriber was told."""
        self.position = top.offset
        self.epoch = top.epoch


def beyond(batch: Sequence[Waiting], offset: int, epoch: str) -> list[Waiting]:
    """Return the messages of a batch that someone at `offset` of `epoch` has not seen.

    Messages without a place in this stream count as unseen; `continues` tells whether that is well.
    """
    return [
        message
        for message in batch
        if not message.offset or message.offset > offset or message.epoch != epoch
    ]


def continues(batch: Sequence[Waiting], offset: int, epoch: str) -> bool:
    """Whether a batch already cut by `beyond` goes on right after `offset` of `epoch`."""
    following = offset + 1
    for message in batch:
        if message.offset:
            if message.offset != following or message.epoch != epoch:
                return False
            following += 1
    return True


def position_after(offset: int, epoch: str, batch: Sequence[Waiting]) -> int:
    """Return where someone at `offset` of `epoch` stands after a batch."""
    return max(offset, *(message.offset for message in batch if message.epoch == epoch), 0)
