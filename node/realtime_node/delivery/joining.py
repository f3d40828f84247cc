"""Joining: from the question to the backplane to the first frame that is shared.

A subscriber learns its position from the backplane's answer, while publications reach the node
through the inbox, and either may be ahead of the other. So a subscription begins as a `Joiner`,
registered before the question is asked:

- without an answer it needs whatever is delivered meanwhile, since it may lie beyond its position;
  the channel keeps it, once for all who wait;
- the answer gives it a position. From then on it takes from each batch what follows its position.

As soon as its position is the channel's, it becomes a member and shares every frame. If the node
loses messages of the channel before that, the joiner may have a hole: its subscribe fails, or it is
told to recover.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from realtime_node.delivery.batching import Waiting
from realtime_node.delivery.subscribers import Subscriber
from realtime_node.protocol.messages import StreamPosition

MAX_KEPT_MESSAGES: Final = 1024
"""Kept in a channel while answers are awaited; who needs more has its subscribe fail, and repeats
it."""


class Kept:
    """The last messages of a channel, for those who await their answers."""

    __slots__ = ("_messages", "total")

    def __init__(self) -> None:
        """Begin empty."""
        self._messages: deque[Waiting] = deque(maxlen=MAX_KEPT_MESSAGES)
        self.total = 0
        """Messages that were kept, those included that are not any more."""

    def add(self, batch: Sequence[Waiting]) -> None:
        """Keep a batch that may lie beyond positions still to come."""
        self._messages.extend(batch)
        self.total += len(batch)

    def has_all_since(self, total: int) -> bool:
        """Whether everything is still there that came behind the first `total`."""
        return self.total - total <= len(self._messages)

    def since(self, total: int) -> list[Waiting]:
        """Return what came behind the first `total`, or what is left of it."""
        count = self.total - total
        return list(self._messages)[-count:] if count else []


class Awaited(Protocol):
    """What a joiner joins: a channel."""

    @property
    def losses(self) -> int:
        """How often it lost messages."""

    @property
    def kept(self) -> Kept:
        """What it keeps for those who await their answers."""


class Joiner:
    """A subscriber between its question to the backplane and its first shared frame."""

    __slots__ = (
        "_began_at",
        "_channel",
        "_kept",
        "_losses",
        "epoch",
        "position",
        "subscriber",
        "wants_join_leave",
    )

    def __init__(self, channel: Awaited, subscriber: Subscriber, *, wants_join_leave: bool) -> None:
        """Start without an answer: everything delivered from now on is kept."""
        self._channel = channel
        self._losses = channel.losses
        self._kept = channel.kept
        self._began_at = self._kept.total
        self.subscriber = subscriber
        self.wants_join_leave = wants_join_leave
        self.position: int | None = None
        self.epoch = ""

    @property
    def saw_loss(self) -> bool:
        """Whether messages of the channel were lost since it began to join."""
        return self._channel.losses != self._losses

    @property
    def is_incomplete(self) -> bool:
        """Whether something that was delivered meanwhile is missing in what was kept."""
        return self.saw_loss or not self._kept.has_all_since(self._began_at)

    def answer(self, top: StreamPosition) -> list[Waiting]:
        """Take the position that the subscriber was told; return what was kept for it.

        That is nothing if it would be incomplete.
        """
        kept = [] if self.is_incomplete else self._kept.since(self._began_at)
        self.position = top.offset
        self.epoch = top.epoch
        return kept


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
