"""A channel on this node: its subscribers, who is joining, and what waits to be written.

**Joining.** A subscriber learns its position from the backplane's answer, while publications reach
the node through the inbox, and either may be ahead of the other. So a subscription begins as a
`Joiner`, registered before the question is asked:

- without an answer it keeps whatever is delivered meanwhile, since it may lie beyond its position;
- the answer gives it a position. From then on it takes from each batch what follows its position.

As soon as its position is the channel's, it becomes a member and shares every frame. The channel's
own position is that of the first answer: if the inbox lags behind it, members are not given what
they already know. That holds only while everybody follows the stream; *loose* subscribers have no
position and know nothing, so as long as there are any, the position comes from the inbox itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from realtime_node.delivery.batching import Audience, Waiting
from realtime_node.delivery.frames import Frame
from realtime_node.delivery.outbound import Outbound
from realtime_node.protocol.deflate import PLAIN, Wire
from realtime_node.protocol.messages import StreamPosition

MAX_KEPT_MESSAGES: Final = 1024
"""Kept for one joiner while its answer is awaited; beyond, its subscribe fails and is repeated."""

Send = Callable[[bytes], None]


class Subscriber(Protocol):
    """What the hub knows of a session."""

    @property
    def outbound(self) -> Outbound:
        """Where its frames go."""

    def lose_position(self, channel: str) -> bool:
        """Learn that messages of a channel were missed; return whether that ends the subscription.

        It does if the client was promised a position: the client recovers by subscribing again.
        The caller takes it out of the channel then.
        """


class Group(NamedTuple):
    """Subscribers that read the same form of a frame and, at the same index, each one's `send`."""

    wire: Wire
    subscribers: tuple[Subscriber, ...]
    sends: tuple[Send, ...]


class Members(NamedTuple):
    """A snapshot of subscribers."""

    groups: tuple[Group, ...]
    size: int
    """Subscribers in all groups."""
    revision: int
    """Of the channel, when it was taken."""


NOBODY: Final = Members((), 0, 0)


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


class Channel:
    """The subscribers of one channel on this node and the messages waiting for them."""

    __slots__ = (
        "_reads_compressed",
        "_snapshot",
        "epoch",
        "fanout",
        "is_queued",
        "join_leave_members",
        "joiners",
        "loose",
        "members",
        "name",
        "offset",
        "revision",
        "sequence",
        "waiters",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        """Start empty; a channel without members and joiners is dropped by the hub."""
        self.name = name
        self.members: dict[Subscriber, Send] = {}
        self.join_leave_members: set[Subscriber] = set()
        self.joiners: dict[Subscriber, Joiner] = {}
        self.loose: set[Subscriber] = set()
        """Members and joiners that were promised no position."""
        self.waiting: deque[Waiting] = deque()
        self.fanout: Fanout | None = None
        self.is_queued = False
        self.offset: int | None = None
        self.epoch = ""
        self.sequence = -1
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.revision = 0
        """Changes with the members and the ways to write to them."""
        self._snapshot: Members | None = None
        self._reads_compressed = False

    def add_member(self, subscriber: Subscriber, *, wants_join_leave: bool) -> None:
        """Let a subscriber share the frames from the next one on."""
        self.members[subscriber] = subscriber.outbound.send
        if wants_join_leave:
            self.join_leave_members.add(subscriber)
        if subscriber.outbound.wire != PLAIN:
            self._reads_compressed = True
        self._changed()

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber, whether it is a member or still joining."""
        self.join_leave_members.discard(subscriber)
        self.loose.discard(subscriber)
        self.joiners.pop(subscriber, None)
        if self.members.pop(subscriber, None) is not None:
            self._changed()
            if self.fanout is not None:
                self.fanout.skip(subscriber)

    def refresh_send(self, subscriber: Subscriber) -> None:
        """Take over the `send` of a subscriber whose pressure changed."""
        if subscriber in self.members:
            self.members[subscriber] = subscriber.outbound.send
            self._changed()

    def audience(self, audience: Audience) -> Members:
        """Return everybody in an audience; rebuilt only after a change."""
        if audience is Audience.JOIN_LEAVE:
            return self._grouped({each: self.members[each] for each in self.join_leave_members})
        if self._snapshot is None:
            self._snapshot = self._grouped(self.members)
        return self._snapshot

    def _grouped(self, chosen: dict[Subscriber, Send]) -> Members:
        """Sort members by what they read, so that nobody has to ask that at every frame."""
        by_wire: dict[Wire, dict[Subscriber, Send]] = {}
        if self._reads_compressed:
            for subscriber, send in chosen.items():
                by_wire.setdefault(subscriber.outbound.wire, {})[subscriber] = send
        elif chosen:
            by_wire[PLAIN] = chosen
        groups = tuple(
            Group(wire, tuple(sends), tuple(sends.values())) for wire, sends in by_wire.items()
        )
        return Members(groups, len(chosen), self.revision)

    def _changed(self) -> None:
        self.revision += 1
        self._snapshot = None

    def received_up_to(self) -> StreamPosition | None:
        """Return the stream's position behind all that was received; None if it is not known."""
        for message in reversed(self.waiting):
            if message.offset:
                return StreamPosition(offset=message.offset, epoch=message.epoch)
        if self.offset is not None and self.epoch:
            return StreamPosition(offset=self.offset, epoch=self.epoch)
        # Nobody is a member by a position yet: what follows the hindmost joiner's is not missed.
        answered = [
            StreamPosition(offset=joiner.position, epoch=joiner.epoch)
            for joiner in self.joiners.values()
            if joiner.position is not None and joiner.epoch
        ]
        return min(answered, key=lambda position: position.offset, default=None)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is subscribed or subscribing."""
        return not self.members and not self.joiners


class Fanout:
    """One frame on its way to the members it was made for, slice by slice.

    It walks over a snapshot, group by group, so who joins meanwhile is not in it (a joiner got the
    batch already) and who leaves has to be skipped: it may be back, further on in the stream,
    before the last slice. Order holds because a channel has one fan-out at a time.
    """

    __slots__ = ("_channel", "_frame", "_group", "_left", "_members", "_next")

    def __init__(self, channel: Channel, frame: Frame, members: Members) -> None:
        """Prepare to write `frame` to each of `members`."""
        self._channel = channel
        self._frame = frame
        self._members = members
        self._left: set[Subscriber] = set()
        self._group = 0
        self._next = 0

    def skip(self, subscriber: Subscriber) -> None:
        """Leave out a member that is gone."""
        self._left.add(subscriber)

    def write_slice(self, limit: int) -> int:
        """Write to at most `limit` members of one group; return how many were reached.

        One group, because the next may be the first to need its form of the frame: what making it
        costs is to be counted before more is done.
        """
        if self.is_finished:
            return 0
        group = self._members.groups[self._group]
        start = self._next
        self._next = end = min(start + limit, len(group.sends))
        if end == len(group.sends):
            self._group += 1
            self._next = 0
        if self._members.revision == self._channel.revision:
            sends = group.sends[start:end]
        else:
            current = self._channel.members
            sends = tuple(
                current[subscriber]
                for subscriber in group.subscribers[start:end]
                if subscriber in current and subscriber not in self._left
            )
        if not sends:
            return end - start
        frame = self._frame.on(group.wire)
        remaining = iter(sends)
        while True:
            try:
                for send in remaining:
                    send(frame)
            except RuntimeError:
                # A transport closed under our hands. The iterator stands behind it: the rest of
                # the members are served as if nothing had happened.
                continue
            return end - start

    @property
    def is_finished(self) -> bool:
        """Whether every member was written to."""
        return self._group >= len(self._members.groups)
