"""The hub: inbox entries in, one shared frame per batch and channel out.

`receive` (called by the backplane's reader) encodes each message once and files it under its
channel. In the next pass of the loop `_deliver` goes round the channels that have something: take
a batch, frame it once, write the same bytes to every member. A pass writes to a bounded number of
clients and then lets the loop breathe, so a channel of any size delays nobody for longer than a
few milliseconds; what arrives for a channel while its fan-out is under way shares the next frame,
which is how the hub gets cheaper, not slower, under load.

Full: when `MAX_BACKLOG` messages wait, `receive` does not return until half of them are out, so
the reader stops reading and the backlog stays in the store, where it is bounded and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from realtime_node.cluster.backplane import Control, Entry, EntryKind
from realtime_node.delivery.batching import MAX_MESSAGES, Audience, Waiting, take_batch
from realtime_node.delivery.channel import (
    NOBODY,
    Channel,
    Fanout,
    Joiner,
    Subscriber,
    beyond,
    continues,
    position_after,
)
from realtime_node.delivery.frames import Frame, Framer
from realtime_node.protocol.codec import Codec
from realtime_node.protocol.messages import JoinLeave, Push, StreamPosition
from realtime_node.telemetry.metrics import DeliveryMetrics

logger = logging.getLogger(__name__)

WRITES_PER_PASS: Final = 1000
"""About 4 ms of writes on one core: the longest the loop is kept from reading sockets."""
MAX_BACKLOG: Final = 20_000
"""Messages that may wait for their frames on one node."""


class Hub:
    """Which sessions listen to which channels on this node, and the way of messages to them."""

    def __init__(
        self,
        codec: Codec,
        metrics: DeliveryMetrics,
        *,
        framer: Framer,
        on_deserted: Callable[[str], None],
        on_control: Callable[[Control], None],
    ) -> None:
        """Report channels that lost their last subscriber, and hand control messages on."""
        self._codec = codec
        self._metrics = metrics
        self._framer = framer
        self._on_deserted = on_deserted
        self._on_control = on_control
        self._channels: dict[str, Channel] = {}
        self._ready: deque[Channel] = deque()
        self._is_scheduled = False
        self._backlog = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    # --- Membership ----------------------------------------------------------------------------

    def begin_join(
        self, name: str, subscriber: Subscriber, *, follows_stream: bool, wants_join_leave: bool
    ) -> Joiner:
        """Prepare a subscription: from now on nothing delivered here is missed.

        `follows_stream` announces that the answer will bring a position.
        """
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name)
        joiner = Joiner(subscriber, wants_join_leave=wants_join_leave)
        channel.joiners[subscriber] = joiner
        if not follows_stream:
            channel.loose.add(subscriber)
        return joiner

    def finish_join(self, name: str, joiner: Joiner, top: StreamPosition) -> None:
        """Start delivery behind `top`, right after the subscriber was told this position.

        Ask `joiner.is_incomplete` before: then it is better to let the subscriber ask again than to
        tell it a position that is lost at once.
        """
        channel = self._channels[name]
        if joiner.is_incomplete and self._end_position(channel, joiner.subscriber):
            self._drop_if_deserted(channel)
            return
        joiner.answer(top)
        kept, joiner.kept = joiner.kept, []
        if top.epoch and channel.offset is None and not channel.loose:
            channel.offset = position_after(top.offset, top.epoch, kept)
            channel.epoch = top.epoch
        self._serve_joiner(channel, joiner, kept, self._frame)

    def leave(self, name: str, subscriber: Subscriber) -> None:
        """End a subscription, or give up one that is being made."""
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.remove(subscriber)
        self._drop_if_deserted(channel)

    def refresh_send(self, names: Iterable[str], subscriber: Subscriber) -> None:
        """Use the present `outbound.send` of a subscriber in its channels."""
        for name in names:
            if channel := self._channels.get(name):
                channel.refresh_send(subscriber)

    @property
    def num_channels(self) -> int:
        """Channels with at least one subscriber here."""
        return len(self._channels)

    @property
    def backlog(self) -> int:
        """Messages waiting for their frame."""
        return self._backlog

    def wait_delivered(self, name: str, sequence: int) -> asyncio.Future[None] | None:
        """Return what completes once an inbox entry of a channel was written to its members.

        None when there is nothing to wait for. Cancel the future to stop waiting.
        """
        channel = self._channels.get(name)
        if channel is None or (channel.sequence >= sequence and channel.fanout is None):
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.waiters.append((sequence, future))
        return future

    # --- The backplane's receiver --------------------------------------------------------------

    async def receive(self, entries: Sequence[Entry]) -> None:
        """File entries under their channels; return once there is room for more."""
        for entry in entries:
            if entry.control is not None:
                self._on_control(entry.control)
            elif channel := self._channels.get(entry.channel):
                channel.waiting.append(self._encode(entry))
                self._backlog += 1
                if not channel.is_queued:
                    channel.is_queued = True
                    self._ready.append(channel)
        self._metrics.entries_received.inc(len(entries))
        self._schedule()
        if self._backlog >= MAX_BACKLOG:
            self._has_room.clear()
            await self._has_room.wait()

    def positions(self, channels: Iterable[str]) -> dict[str, StreamPosition]:
        """Tell up to which publication channels were received, delivered or not."""
        found: dict[str, StreamPosition] = {}
        for name in channels:
            channel = self._channels.get(name)
            position = channel.received_up_to() if channel is not None else None
            if position is not None:
                found[name] = position
        return found

    def lost(self, partition: int, channels: Sequence[str] | None) -> None:
        """Tell subscribers that messages of their channels are gone."""
        names = list(self._channels) if channels is None else channels
        logger.warning(
            "partition %d lost inbox entries; %d channels have to recover", partition, len(names)
        )
        for name in names:
            if channel := self._channels.get(name):
                for joiner in list(channel.joiners.values()):
                    if joiner.position is None:
                        joiner.give_up_keeping()
                    elif joiner.epoch:
                        self._end_position(channel, joiner.subscriber)
                channel.offset = None
                self._lose_position(channel)

    def _encode(self, entry: Entry) -> Waiting:
        audience = Audience.EVERYONE
        offset = 0
        if entry.publication is not None:
            push = Push(channel=entry.channel, pub=entry.publication)
            offset = entry.publication.offset
        else:
            audience = Audience.JOIN_LEAVE
            assert entry.info is not None, "an entry brings a publication, an info or a control"
            body = JoinLeave(info=entry.info)
            is_join = entry.kind is EntryKind.JOIN
            push = Push(
                channel=entry.channel,
                join=body if is_join else None,
                leave=None if is_join else body,
            )
        return Waiting(self._codec.encode_push(push), audience, offset, entry.epoch, entry.sequence)

    # --- Delivery ------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._ready and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        """Write to a bounded number of clients, taking channels in turn."""
        self._is_scheduled = False
        budget = WRITES_PER_PASS
        while self._ready and budget > 0:
            channel = self._ready.popleft()
            if channel.fanout is None and not channel.waiting:
                channel.is_queued = False  # deserted since it was queued
                continue
            spent_before = self._framer.spent_writes
            fanout = channel.fanout or self._begin_fanout(channel)
            # Framing costs about a write, so a pass over many small channels ends in time as well.
            budget -= 1 + fanout.write_slice(budget)
            budget -= self._framer.spent_writes - spent_before
            if fanout.is_finished:
                channel.fanout = None
                self._release_waiters(channel)
            if channel.fanout is not None or channel.waiting:
                self._ready.append(channel)
            else:
                channel.is_queued = False
        if not self._has_room.is_set() and self._backlog <= MAX_BACKLOG // 2:
            self._has_room.set()
        self._schedule()

    def _begin_fanout(self, channel: Channel) -> Fanout:
        """Take a channel's next batch, serve its joiners, and frame it for its members."""
        batch = take_batch(channel.waiting)
        self._backlog -= len(batch)
        channel.sequence = batch[-1].sequence
        audience = batch[0].audience
        for_members = self._advance(channel, batch)
        members = channel.audience(audience)
        frame_of = _Shared(self._frame)
        if audience is Audience.EVERYONE and channel.joiners:
            for joiner in list(channel.joiners.values()):
                if joiner.position is None:
                    joiner.keep(batch)
                else:
                    self._serve_joiner(channel, joiner, batch, frame_of)
        if not for_members or not members.size:
            return Fanout(channel, self._framer.frame(b""), NOBODY)
        frame = frame_of(for_members)
        self._metrics.frames_built.inc()
        self._metrics.deliveries.inc(members.size * len(for_members))
        fanout = channel.fanout = Fanout(channel, frame, members)
        return fanout

    def _advance(self, channel: Channel, batch: list[Waiting]) -> list[Waiting]:
        """Move a channel's position over a batch; return what its members have not seen.

        A hole, or another epoch, means that this node missed something of the channel: its members
        are told, and recover from their own position.
        """
        fresh = batch
        if channel.offset is not None:
            fresh = beyond(batch, channel.offset, channel.epoch)
            if not continues(fresh, channel.offset, channel.epoch):
                logger.warning(
                    "channel %s: expected offset %d of epoch %s, got %d of epoch %s",
                    channel.name,
                    channel.offset + 1,
                    channel.epoch,
                    fresh[0].offset,
                    fresh[0].epoch,
                )
                self._lose_position(channel)
        last = fresh[-1] if fresh else None
        if last is not None and last.offset:
            channel.offset, channel.epoch = last.offset, last.epoch
        return fresh

    def _serve_joiner(
        self,
        channel: Channel,
        joiner: Joiner,
        batch: Sequence[Waiting],
        frame_of: Callable[[Sequence[Waiting]], Frame],
    ) -> None:
        """Give an answered joiner what follows its position, and membership when it caught up."""
        assert joiner.position is not None, "an unanswered joiner keeps its messages"
        subscriber = joiner.subscriber
        following = batch
        if joiner.epoch:
            following = beyond(batch, joiner.position, joiner.epoch)
            if not continues(following, joiner.position, joiner.epoch) and self._end_position(
                channel, subscriber
            ):
                self._drop_if_deserted(channel)
                return
            joiner.position = position_after(joiner.position, joiner.epoch, following)
        for start in range(0, len(following), MAX_MESSAGES):
            frame = frame_of(following[start : start + MAX_MESSAGES])
            with contextlib.suppress(RuntimeError):  # its transport closed under our hands
                subscriber.outbound.send(frame.on(subscriber.outbound.wire))
        if channel.joiners.get(subscriber) is not joiner:
            return  # too slow even for this, and gone
        is_there = (joiner.position, joiner.epoch) == (channel.offset, channel.epoch)
        if not joiner.epoch or is_there:
            del channel.joiners[subscriber]
            channel.add_member(subscriber, wants_join_leave=joiner.wants_join_leave)

    def _frame(self, batch: Sequence[Waiting]) -> Frame:
        return self._framer.frame(self._codec.join([message.payload for message in batch]))

    def _lose_position(self, channel: Channel) -> None:
        for subscriber in list(channel.members):
            self._end_position(channel, subscriber)
        self._drop_if_deserted(channel)

    def _end_position(self, channel: Channel, subscriber: Subscriber) -> bool:
        """Tell a subscriber that it missed something; return whether it is gone by that."""
        if not subscriber.lose_position(channel.name):
            return False
        self._metrics.positions_lost.inc()
        channel.remove(subscriber)
        return True

    def _release_waiters(self, channel: Channel) -> None:
        if not channel.waiters:
            return
        still_waiting = []
        for sequence, future in channel.waiters:
            if sequence > channel.sequence:
                still_waiting.append((sequence, future))
            elif not future.done():
                future.set_result(None)
        channel.waiters = still_waiting

    def _drop_if_deserted(self, channel: Channel) -> None:
        """Forget a channel nobody listens to; what still waits for it is for nobody."""
        if not channel.is_deserted or self._channels.get(channel.name) is not channel:
            return
        del self._channels[channel.name]
        self._backlog -= len(channel.waiting)
        channel.waiting.clear()
        for _, future in channel.waiters:
            future.cancel()
        self._on_deserted(channel.name)


class _Shared:
    """Frames the parts of one batch, each part once, whoever is to get it.

    Joiners stand at different positions, but many stand at the same one.
    """

    def __init__(self, frame_of: Callable[[Sequence[Waiting]], Frame]) -> None:
        self._frame_of = frame_of
        self._frames: dict[tuple[int, ...], Frame] = {}

    def __call__(self, part: Sequence[Waiting]) -> Frame:
        key = tuple(map(id, part))
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._frame_of(part)
        return frame
