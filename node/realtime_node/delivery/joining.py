"""Joining: from the question to the backplane to the first frame that is shared.

A subscriber learns its position from the backplane's answer, while publications reach the node
through the inbox, and either may be ahead of the other. So a subscription begins as a `Joiner`,
registered before the question is asked:

- without an answer it keeps whatever is delivered meanwhile, since it may lie beyond its position;
- the answer gives it a position. From then on it takes from each batch what follows its position.

As soon as its position is the channel's, it becomes a member and shares every frame. If the node
loses messages of the channel before that, the joiner may have a hole: its subscribe fails, or it is
told to recover.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from realtime_node.delivery.batching import Waiting
from realtime_node.delivery.subscribers import Subscriber
from realtime_node.protocol.messages import StreamPosition

MAX_KEPT_MESSAGES: Final = 1024
"""Kept for one joiner while its answer is awaited; beyond, its subscribe fails and is repeated."""


class Lossy(Protocol):
    """What messages may be lost of: a channel."""

    @property
    def losses(self) -> int:
        """How often it lost messages."""


class Joiner:
    """A subscriber between its question to the backplane and its first shared frame."""

    __slots__ = (
        "_channel",
        "_gave_up_keeping",
        "_losses",
        "epoch",
        "kept",
        "position",
        "subscriber",
        "wants_join_leave",
    )

    def __init__(self, channel: Lossy, subscriber: Subscriber, *, wants_join_leave: bool) -> None:
        """Start without an answer: everything delivered from now on is kept."""
        self._channel = channel
        self._losses = channel.losses
        self.subscriber = subscriber
        self.wants_join_leave = wants_join_leave
        self.position: int | None = None
        self.epoch = ""
        self.kept: list[Waiting] = []
        self._gave_up_keeping = False

    @property
    def saw_loss(self) -> bool:
        """Whether messages of the channel were lost since it began to join."""
        return self._channel.losses != self._losses

    @property
    def is_incomplete(self) -> bool:
        """Whether something that was delivered meanwhile is missing in what was kept."""
        return self._gave_up_keeping or self.saw_loss

    def keep(self, batch: Sequence[Waiting]) -> None:
        """Keep a batch that may lie beyond the position still to come."""
        if len(self.kept) + len(batch) > MAX_KEPT_MESSAGES:
            self.give_up_keeping()
        if not self.is_incomplete:
            self.kept.extend(batch)

    def give_up_keeping(self) -> None:
        """Note that not everything delivered meanwhile could be kept."""
        self._gave_up_keeping = True
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
    reached = offset
    for message in batch:
        if message.offset:
            if message.epoch != epoch or not (
                message.offset - message.skipped <= reached + 1 <= message.offset
            ):
                return False
            reached = message.offset
    return True


def position_after(offset: int, epoch: str, batch: Sequence[Waiting]) -> int:
    """Return where someone at `offset` of `epoch` stands after a batch."""
    return max(offset, *(message.offset for message in batch if message.epoch == epoch), 0)
