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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from realtime_node.delivery.batching import Audience, Batch, Waiting, take_batch
from realtime_node.delivery.flow import PLAIN, Flow
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from realtime_node.protocol.messages import StreamPosition

if TYPE_CHECKING:
    from realtime_node.delivery.slow_clients import SlowClients

MAX_KEPT_MESSAGES: Final = 1024
"""Kept for one joiner while its answer is awaited; beyond, its subscribe fails and is repeated."""

SMALLEST_COHORT: Final = 50
"""Members below which it is not worth to spread them further."""
SHORTEST_GAP_S: Final = 0.002
"""Between two cohorts: timers are not much finer than a millisecond."""

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


class Run(NamedTuple):
    """Healthy members, one behind the other in a snapshot, who read the same form of a frame."""

    wire: Wire
    end: int
    """Index behind the last of them."""


class Members(NamedTuple):
    """A snapshot of subscribers: the healthy ones in runs, then those that are congested."""

    subscribers: tuple[Subscriber, ...]
    sends: tuple[Send, ...]
    """How to write to each healthy one, at the same index."""
    runs: tuple[Run, ...]
    revision: int
    """Of the channel, when it was taken."""


NOBODY: Final = Members((), (), (), 0)

_wire_of: Final[Callable[[Subscriber], Wire]] = attrgetter("outbound.wire")


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
        "congested",
        "due",
        "epoch",
        "fanout",
        "flow",
        "gathered_bytes",
        "is_queued",
        "join_leave_members",
        "joiners",
        "loose",
        "members",
        "name",
        "next_frame_at",
        "offset",
        "revision",
        "sequence",
        "waiters",
        "waiting",
    )

    def __init__(self, name: str, flow: Flow = PLAIN) -> None:
        """Start empty; a channel without members and joiners is dropped by the hub."""
        self.name = name
        self.flow = flow
        self.members: dict[Subscriber, Send] = {}
        self.congested: set[Subscriber] = set()
        """Members that are not to be written to before they have drained."""
        self.join_leave_members: set[Subscriber] = set()
        self.joiners: dict[Subscriber, Joiner] = {}
        self.loose: set[Subscriber] = set()
        """Members and joiners that were promised no position."""
        self.waiting: deque[Waiting] = deque()
        self.gathered_bytes = 0
        self.next_frame_at = 0.0
        """Before this time the interval between two frames is not over."""
        self.due: float | None = None
        """When its time comes, while it stands in the agenda."""
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
        if wants_join_leave:
            self.join_leave_members.add(subscriber)
        if subscriber.outbound.wire != UNCOMPRESSED:
            self._reads_compressed = True
        self._take_pressure(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber, whether it is a member or still joining."""
        self.join_leave_members.discard(subscriber)
        self.loose.discard(subscriber)
        self.congested.discard(subscriber)
        subscriber.outbound.forget(self.name)
        self.joiners.pop(subscriber, None)
        if self.members.pop(subscriber, None) is not None:
            self._changed()
            if self.fanout is not None:
                self.fanout.skip(subscriber)

    def refresh_send(self, subscriber: Subscriber) -> None:
        """Take over the `send` of a subscriber whose pressure changed."""
        if subscriber in self.members:
            self._take_pressure(subscriber)

    def _take_pressure(self, subscriber: Subscriber) -> None:
        self.members[subscriber] = subscriber.outbound.send
        if subscriber.outbound.pressure is Pressure.CONGESTED:
            self.congested.add(subscriber)
        else:
            self.congested.discard(subscriber)
        self._changed()

    def _changed(self) -> None:
        self.revision += 1
        self._snapshot = None

    def audience(self, audience: Audience) -> Members:
        """Return everybody in an audience; rebuilt only after a change."""
        if audience is Audience.JOIN_LEAVE:
            return self._members(self.join_leave_members)
        if self._snapshot is None:
            self._snapshot = self._members(self.members)
        return self._snapshot

    def _members(self, chosen: Iterable[Subscriber]) -> Members:
        """Sort members by what they read, so that nobody has to ask that at every frame."""
        congested = self.congested
        healthy = [each for each in chosen if each not in congested] if congested else [*chosen]
        runs = [Run(UNCOMPRESSED, len(healthy))] if healthy else []
        if self._reads_compressed:
            healthy.sort(key=_wire_of)
            sizes = Counter(map(_wire_of, healthy))
            runs = list(map(Run, sizes, accumulate(sizes.values())))
        return Members(
            (*healthy, *(each for each in chosen if each in congested)),
            tuple(map(self.members.__getitem__, healthy)),
            tuple(runs),
            self.revision,
        )

    def gather(self, message: Waiting) -> None:
        """Let a message wait for the next frame."""
        self.waiting.append(message)
        self.gathered_bytes += len(message.payload)

    def take(self) -> list[Waiting]:
        """Remove and return the messages of the next frame; something has to wait."""
        batch = take_batch(self.waiting, self.flow.batch, conflates=self.flow.conflates)
        self.gathered_bytes -= sum(len(message.payload) for message in batch)
        return batch

    @property
    def is_full(self) -> bool:
        """Whether what waits fills a frame, so that it need not wait for the interval's end.

        Never where values conflate: the longer they wait, the fewer are left of them.
        """
        rule = self.flow.batch
        return not self.flow.conflates and (
            len(self.waiting) >= rule.max_messages or self.gathered_bytes >= rule.max_bytes
        )

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


class Pace(NamedTuple):
    """How a frame's way to many members is spread over time."""

    cohort: int
    """Members written to at one moment."""
    gap_s: float
    """From one cohort to the next; 0: as fast as the loop lets."""


def pace(members: int, stagger_s: float) -> Pace:
    """Return how a frame reaches `members` within `stagger_s`."""
    cohorts = min(members // SMALLEST_COHORT, int(stagger_s / SHORTEST_GAP_S))
    if cohorts <= 1:
        return Pace(max(members, 1), 0.0)
    return Pace(-(-members // cohorts), stagger_s / cohorts)


class Fanout:
    """One frame on its way to the members it was made for, slice by slice.

    It walks over a snapshot, run by run, so who joins meanwhile is not in it (a joiner got the
    batch already) and who leaves has to be skipped: it may be back, further on in the stream,
    before the last slice. Order holds because a channel has one fan-out at a time.
    """

    __slots__ = (
        "_batch",
        "_begun_at",
        "_channel",
        "_left",
        "_members",
        "_next",
        "_pace",
        "_run",
        "_slow",
    )

    def __init__(
        self, channel: Channel, batch: Batch, members: Members, slow: SlowClients, now: float
    ) -> None:
        """Prepare to write a batch's frame to each of `members`, from `now` on."""
        self._channel = channel
        self._batch = batch
        self._members = members
        self._slow = slow
        self._begun_at = now
        self._pace = pace(len(members.subscribers), channel.flow.stagger_s)
        self._left: set[Subscriber] = set()
        self._run = 0
        self._next = 0

    def skip(self, subscriber: Subscriber) -> None:
        """Leave out a member that is gone."""
        self._left.add(subscriber)

    def write_slice(self, limit: int) -> int:
        """Write to at most `limit` members of one cohort and run; return how many were reached.

        Of one run, because the next may be the first to need its form of the frame: what making it
        costs is to be counted before more is done.
        """
        start = self._next
        subscribers, sends, runs, revision = self._members
        run = runs[self._run] if self._run < len(runs) else None
        left_of_cohort = self._pace.cohort - start % self._pace.cohort
        end_of_run = run.end if run is not None else len(subscribers)
        self._next = end = min(start + limit, start + left_of_cohort, end_of_run)
        if end == end_of_run:
            self._run += 1
        if run is None:
            # Whoever of these has drained since then writes what it reads by itself.
            self._slow.offer(self._present(subscribers[start:end]), self._batch)
        elif revision == self._channel.revision:
            self._write(sends[start:end], run.wire)
        else:
            self._write_present(subscribers[start:end], run.wire)
        return end - start

    def _present(self, part: Iterable[Subscriber]) -> list[Subscriber]:
        """Leave out those that are gone, or were meanwhile."""
        members = self._channel.members
        return [each for each in part if each in members and each not in self._left]

    def _write_present(self, part: Iterable[Subscriber], wire: Wire) -> None:
        """Write to those that are still there, by what they are now."""
        there, congested = self._present(part), self._channel.congested
        members = self._channel.members
        # Told apart before anything is written: whoever this very frame congests has it.
        slow = [each for each in there if each in congested] if congested else []
        self._write([members[each] for each in there if each not in congested], wire)
        if slow:
            self._slow.offer(slow, self._batch)

    def _write(self, sends: Sequence[Send], wire: Wire) -> None:
        if not sends:
            return
        shared = self._slow.writing = self._batch.frame.on(wire)
        frame = shared.data
        remaining = iter(sends)
        while True:
            try:
                for send in remaining:
                    send(frame)
            except RuntimeError:
                # A transport closed under our hands. The iterator stands behind it: the rest of
                # the members are served as if nothing had happened.
                continue
            self._slow.writing = None
            return

    @property
    def next_at(self) -> float:
        """When the next slice is due; a time in the past: at once."""
        cohort, gap_s = self._pace
        return self._begun_at + self._next // cohort * gap_s

    @property
    def is_finished(self) -> bool:
        """Whether every member was written to."""
        return self._next >= len(self._members.subscribers)
