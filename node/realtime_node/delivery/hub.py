"""The hub: inbox entries in, one shared frame per batch and channel out.

`receive` (called by the backplane's reader) encodes each message once and files it under its
channel. In the next pass of the loop `rounds` serves the channels that have something: take
a batch, frame it once, write the same bytes to every member. A pass writes to a bounded number of
clients and then lets the loop breathe, so a channel of any size delays nobody for longer than a
few milliseconds; what arrives for a channel while its fan-out is under way shares the next frame,
which is how the hub gets cheaper, not slower, under load.

Full: when half of `MAX_BACKLOG` messages wait, no channel waits for its interval or its stagger any
more, so that what is left to wait for is the writing. When `MAX_BACKLOG` wait, `receive` does not
return until half of them are out, so the reader stops reading and the backlog stays in the store,
where it is bounded and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from realtime_node.cluster.backplane import Control, Entry
from realtime_node.delivery.batching import Audience, Batch, Waiting, newest
from realtime_node.delivery.channel import Channel
from realtime_node.delivery.encoding import waiting_of
from realtime_node.delivery.fanout import Fanout
from realtime_node.delivery.flow import Flow
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.joining import Joiner, beyond, continues, position_after
from realtime_node.delivery.rounds import Rounds
from realtime_node.delivery.shared_batches import BatchOf, SharedBatches
from realtime_node.delivery.slow_clients import SlowClients
from realtime_node.delivery.subscribers import NOBODY, Subscriber
from realtime_node.protocol.codec import Codec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import DeliveryMetrics

logger = logging.getLogger(__name__)

MAX_BACKLOG: Final = 20_000
"""Messages that may wait for their frames on one node."""


class Hub:
    """Which sessions listen to which channels on this node, and the way of messages to them."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        codec: Codec,
        metrics: DeliveryMetrics,
        slow: SlowClients,
        *,
        framer: Framer,
        flow_of: Callable[[str], Flow],
        on_deserted: Callable[[str], None],
        on_control: Callable[[Control], None],
    ) -> None:
        """Report channels that lost their last subscriber, and hand control messages on.

        `flow_of` is asked for the rules of every channel that gets its first subscriber, and when
        rules have changed.
        """
        self._codec = codec
        self._metrics = metrics
        self._framer = framer
        self._slow = slow
        self._flow_of = flow_of
        self._on_deserted = on_deserted
        self._on_control = on_control
        self._channels: dict[str, Channel] = {}
        self._rounds = Rounds(self._serve, on_pass=self._make_room, now=slow.now)
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
            channel = self._channels[name] = Channel(name, self._flow_of(name))
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
        self._serve_joiner(channel, joiner, kept, self._batch)

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

    def retune(self, names: Iterable[str]) -> None:
        """Ask for the rules of channels anew: they count from each one's next frame on."""
        for name in names:
            if channel := self._channels.get(name):
                channel.flow = self._flow_of(name)

    def names(self) -> list[str]:
        """The channels with at least one subscriber here."""
        return list(self._channels)

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

        None when there is nothing to wait for: no such channel, delivered already, or to be held
        back for the interval of the channel. Cancel the future to stop waiting.
        """
        channel = self._channels.get(name)
        if channel is None or channel.flow.batch.interval_s:
            return None
        if channel.sequence >= sequence and channel.fanout is None:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.waiters.append((sequence, future))
        return future

    # --- The backplane's receiver --------------------------------------------------------------

    async def receive(self, entries: Sequence[Entry]) -> None:
        """File entries under their channels; return once there is room for more."""
        for entry in entries:
            try:
                self._file(entry)
            except Exception:
                # The reader reads for everybody: a bug of ours may cost one channel's only.
                logger.exception("an entry of channel %r could not be taken", entry.channel)
                self._metrics.entries_failed.inc()
                self.lost(entry.partition, [entry.channel] if entry.channel else [])
        self._metrics.entries_received.inc(len(entries))
        if self._backlog >= MAX_BACKLOG // 2:
            self._rounds.hurry()
        self._rounds.schedule()
        # One partition's entries may take the room that another's wait for.
        while self._backlog >= MAX_BACKLOG:
            self._has_room.clear()
            await self._has_room.wait()

    def _file(self, entry: Entry) -> None:
        if entry.control is not None:
            self._on_control(entry.control)
        elif channel := self._channels.get(entry.channel):
            channel.gather(waiting_of(entry, channel.flow, self._codec))
            self._backlog += 1
            if not channel.is_queued:
                channel.is_queued = True
                self._rounds.plan(channel)
            elif channel.due is not None and channel.is_full:
                self._rounds.hasten(channel)

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

    # --- Delivery ------------------------------------------------------------------------------

    def _serve(self, channel: Channel, budget: int) -> int:
        """Write to some members of a channel; return what that took of the pass's budget."""
        spent_before = self._framer.spent_writes
        fanout = channel.fanout or self._begin_fanout(channel)
        # Framing costs about a write, so a pass over many small channels ends in time as well.
        written = 1 + fanout.write_slice(budget)
        if fanout.is_finished:
            channel.fanout = None
            self._release_waiters(channel)
        return written + self._framer.spent_writes - spent_before

    def _make_room(self) -> None:
        if self._backlog <= MAX_BACKLOG // 2:
            self._has_room.set()
        if self._backlog <= MAX_BACKLOG // 4:
            self._rounds.relax()

    def _begin_fanout(self, channel: Channel) -> Fanout:
        """Take a channel's next batch, serve its joiners, and frame it for its members."""
        batch = channel.take()
        now = self._slow.now()
        self._backlog -= len(batch)
        if channel.flow.batch.interval_s:
            # What did not fit a frame of newest values need not wait: it has waited.
            is_left = channel.flow.conflates and channel.waiting
            channel.next_frame_at = now if is_left else now + channel.flow.batch.interval_s
        channel.sequence = batch[-1].sequence
        audience = batch[0].audience
        for_members = self._advance(channel, batch)
        members = channel.audience(audience)
        batch_of = SharedBatches(self._batch)
        if audience is Audience.EVERYONE and channel.joiners:
            for joiner in list(channel.joiners.values()):
                if joiner.position is None:
                    joiner.keep(batch)
                else:
                    self._serve_joiner(channel, joiner, batch, batch_of)
        if not for_members or not members.subscribers:
            return Fanout(channel, self._batch(channel, ()), NOBODY, self._slow, now)
        shared = batch_of(channel, self._worth_sending(channel, for_members))
        self._metrics.frames_built.inc()
        self._metrics.deliveries.inc(len(members.sends) * len(shared.messages))
        fanout = channel.fanout = Fanout(channel, shared, members, self._slow, now)
        return fanout

    def _worth_sending(self, channel: Channel, messages: Sequence[Waiting]) -> Sequence[Waiting]:
        """Leave out values that are no longer the newest, where the channel wants no others."""
        if not channel.flow.conflates:
            return messages
        values = newest(messages)
        self._metrics.conflated.inc(len(messages) - len(values))
        return values

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
        batch_of: BatchOf,
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
        worth = self._worth_sending(channel, following)
        size = channel.flow.batch.max_messages
        for start in range(0, len(worth), size):
            self._slow.offer((subscriber,), batch_of(channel, worth[start : start + size]))
        if channel.joiners.get(subscriber) is not joiner:
            return  # too slow even for this, and gone
        is_there = (joiner.position, joiner.epoch) == (channel.offset, channel.epoch)
        if not joiner.epoch or is_there:
            del channel.joiners[subscriber]
            channel.add_member(subscriber, wants_join_leave=joiner.wants_join_leave)

    def _batch(self, channel: Channel, messages: Sequence[Waiting]) -> Batch:
        frame = self._framer.frame(self._codec.join([message.payload for message in messages]))
        return Batch(channel.name, channel.flow.slow, frame, messages)

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
