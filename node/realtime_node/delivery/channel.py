"""A channel on this node: its subscribers, who is joining, and what waits to be written.

Its position is that of the first answer that a joiner got (see `joining`): if the inbox lags behind
it, members are not given what they already know. That holds only while everybody follows the
stream; *loose* subscribers have no position and know nothing, so as long as there are any, the
position comes from the inbox itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

from realtime_node.delivery.batching import Audience, Waiting, take_batch
from realtime_node.delivery.fanout import Fanout
from realtime_node.delivery.flow import PLAIN, Flow
from realtime_node.delivery.joining import Joiner, Kept
from realtime_node.delivery.outbound import Pressure
from realtime_node.delivery.subscribers import Members, Run, Send, Subscriber
from realtime_node.delivery.values import Values
from realtime_node.delivery.walk import Walk
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from realtime_node.protocol.messages import StreamPosition

MAX_FAILURES: Final = 3
"""In a row; then everything that waits in the channel is dropped, instead of one frame of it."""

_wire_of: Final[Callable[[Subscriber], Wire]] = attrgetter("outbound.wire")


class Channel:
    """The subscribers of one channel on this node and the messages waiting for them."""

    __slots__ = (
        "_reads_compressed",
        "_snapshot",
        "congested",
        "counted",
        "due",
        "epoch",
        "failures",
        "fanout",
        "flow",
        "gathered_bytes",
        "has_untold_loss",
        "is_queued",
        "join_leave_members",
        "joiners",
        "kept_messages",
        "loose",
        "losses",
        "members",
        "name",
        "next_frame_at",
        "offset",
        "revision",
        "sequence",
        "superseded",
        "unanswered",
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
        self.unanswered = 0
        """How many of them await their answers."""
        self.kept_messages: Kept | None = None
        """What they may need; None: nobody does."""
        self.loose: set[Subscriber] = set()
        """Members and joiners that were promised no position."""
        self.waiting: deque[Waiting] | Values = Values() if flow.conflates else deque()
        self.gathered_bytes = 0
        self.counted = 0
        """Of what waits, the messages that the hub's backlog counts."""
        self.superseded = 0
        """Values that left for newer ones and are not counted in the metrics yet."""
        self.losses = 0
        """How often messages of it were lost: a joiner from before has a hole."""
        self.has_untold_loss = False
        """Whether those who follow the stream are to be told of a loss before anything else."""
        self.failures = 0
        """How often it could not be served since it last was."""
        self.next_frame_at = 0.0
        """Before this time the interval between two frames is not over."""
        self.due: float | None = None
        """When its time comes, while it stands in the agenda."""
        self.fanout: Fanout | Walk[Any] | None = None
        self.is_queued = False
        self.offset: int | None = None
        self.epoch = ""
        self.sequence = -1
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.revision = 0
        """Changes with the members and the ways to write to them."""
        self._snapshot: Members | None = None
        self._reads_compressed = False

    @property
    def kept(self) -> Kept:
        """What is kept for those who await their answers."""
        if self.kept_messages is None:
            self.kept_messages = Kept()
        return self.kept_messages

    def begin_join(self, subscriber: Subscriber, *, wants_join_leave: bool) -> Joiner:
        """Let a subscriber await its answer, in the place of what it was."""
        self._forget_joiner(subscriber)
        joiner = Joiner(self, subscriber, wants_join_leave=wants_join_leave)
        self.joiners[subscriber] = joiner
        self.unanswered += 1
        return joiner

    def answer(self, joiner: Joiner, top: StreamPosition) -> list[Waiting]:
        """Give a joiner its position; return what was kept for it."""
        kept = joiner.answer(top)
        self._end_wait()
        return kept

    def _forget_joiner(self, subscriber: Subscriber) -> bool:
        joiner = self.joiners.pop(subscriber, None)
        if joiner is not None and joiner.position is None:
            self._end_wait()
        return joiner is not None

    def _end_wait(self) -> None:
        self.unanswered -= 1
        if not self.unanswered:
            self.kept_messages = None

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
        was_joining = self._forget_joiner(subscriber)
        was_member = self.members.pop(subscriber, None) is not None
        if was_member:
            self._changed()
        if self.fanout is not None and (was_member or was_joining):
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
        """Let a message wait for the next frame; a value takes the place of an older one."""
        waiting = self.waiting
        self.gathered_bytes += len(message.payload)
        if not isinstance(waiting, Values):
            waiting.append(message)
        elif (older := waiting.put(message)) is not None:
            self.gathered_bytes -= len(older.payload)
            self.superseded += 1

    def take(self) -> list[Waiting]:
        """Remove and return the messages of the next frame; something has to wait."""
        batch = take_batch(self.waiting, self.flow.batch)
        self.gathered_bytes -= sum(len(message.payload) for message in batch)
        return batch

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Undo a `take`, right behind it."""
        for message in reversed(batch):
            self.waiting.appendleft(message)
            self.gathered_bytes += len(message.payload)

    def advance(self, messages: Sequence[Waiting]) -> None:
        """Move the position behind messages that go on from it."""
        for message in reversed(messages):
            if message.offset:
                self.offset, self.epoch = message.offset, message.epoch
                return

    def note_loss(self) -> bool:
        """End every position given out, or about to be; return whether anybody has to be told."""
        self.losses += 1
        self.offset = None
        if len(self.loose) < len(self.members) + len(self.joiners):
            self.has_untold_loss = True
        return self.has_untold_loss

    def drop_waiting(self) -> None:
        """Let go of everything that waits."""
        self.waiting.clear()
        self.gathered_bytes = 0

    def retune(self, flow: Flow) -> None:
        """Go by other rules, with what waits already as well."""
        is_other = flow.conflates is not self.flow.conflates
        self.flow = flow
        if is_other:
            before, self.waiting = self.waiting, Values() if flow.conflates else deque()
            self.gathered_bytes = 0
            while before:
                self.gather(before.popleft())

    @property
    def has_work(self) -> bool:
        """Whether it has to be served."""
        return self.fanout is not None or bool(self.waiting) or self.has_untold_loss

    @property
    def is_full(self) -> bool:
        """Whether what waits fills a frame, so that it need not wait for the interval's end.

        Never where values conflate: the longer they wait, the fewer are left of them.
        """
        rule = self.flow.batch
        return not self.flow.conflates and (
            len(self.waiting) >= rule.max_messages or self.gathered_bytes >= rule.max_bytes
        )

    @property
    def frames_waiting(self) -> float:
        """How many frames what waits would fill."""
        rule = self.flow.batch
        return max(len(self.waiting) / rule.max_messages, self.gathered_bytes / rule.max_bytes)

    @property
    def due_at(self) -> float:
        """When it is to be served next; a time in the past: at once."""
        if self.has_untold_loss:
            return self.next_frame_at if self.failures >= MAX_FAILURES else 0.0
        if self.fanout is not None:
            return self.fanout.next_at()
        due_at = self.next_frame_at
        return 0.0 if due_at and self.is_full else due_at

    def with_a_position(self) -> Sequence[Subscriber]:
        """Return who has to be told of a loss: those who follow the stream, members and joiners.

        Who began to join behind the loss misses nothing, and who awaits its answer has been told
        nothing yet: its subscribe fails.
        """
        loose = self.loose
        members = [each for each in self.members if each not in loose] if loose else [*self.members]
        return members + [
            joiner.subscriber
            for joiner in self.joiners.values()
            if joiner.saw_loss and joiner.position is not None
        ]

    def wait_delivered(self, sequence: int) -> asyncio.Future[None] | None:
        """Return what completes once an inbox entry was written; None: there is nothing to await.

        It is not awaited either where frames wait for an interval.
        """
        if self.flow.batch.interval_s or (self.sequence >= sequence and self.fanout is None):
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append((sequence, future))
        return future

    def release_waiters(self) -> None:
        """Complete what awaits entries that were written."""
        if not self.waiters:
            return
        still_waiting = []
        for sequence, future in self.waiters:
            if sequence > self.sequence:
                still_waiting.append((sequence, future))
            elif not future.done():
                future.set_result(None)
        self.waiters = still_waiting

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
