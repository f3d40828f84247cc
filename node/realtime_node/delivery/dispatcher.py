"""Serves one channel at a time: takes what waits, frames it once, writes it slice by slice.

    serve ──▶ a loss to be told, or a hole? ──yes──▶ `LossFanout` ─┐
                     │ no                                          ├──▶ a slice of it
                     └──▶ batch ──▶ joiners ──▶ one `Fanout` ──────┘

A few joiners are served at once, a crowd of them in slices, before the members.

A channel has one fan-out at a time, so every member sees one order, and nothing that came behind a
loss is written to anybody who follows the stream and has not been told of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from realtime_node import failures
from realtime_node.delivery.batching import Audience, Batch, Waiting, newest
from realtime_node.delivery.channel import Channel
from realtime_node.delivery.fanout import Fanout
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.joining import Joiner, beyond, continues, position_after
from realtime_node.delivery.losses import LossFanout
from realtime_node.delivery.shared_batches import BatchOf, SharedBatches
from realtime_node.delivery.slow_clients import SlowClients
from realtime_node.delivery.subscribers import NOBODY, Subscriber
from realtime_node.delivery.walk import Walk
from realtime_node.protocol.codec import Codec
from realtime_node.telemetry.metrics import DeliveryMetrics

logger = logging.getLogger(__name__)

MOST_JOINERS_AT_ONCE: Final = 100
"""Beyond, they are a crowd, and served in slices."""
WRITES_PER_JOINER: Final = 8
"""What it takes to give one joiner its part of a batch, or to tell it of a hole, in writes."""


class Dispatcher:
    """The way of a channel's messages from the line they wait in to its subscribers."""

    def __init__(
        self,
        codec: Codec,
        metrics: DeliveryMetrics,
        slow: SlowClients,
        *,
        framer: Framer,
        on_left: Callable[[Channel], None],
    ) -> None:
        """Call `on_left` with a channel whose last subscriber may have left."""
        self._codec = codec
        self._metrics = metrics
        self._slow = slow
        self._framer = framer
        self._on_left = on_left
        self._spent_on_joiners = 0
        """Writes that serving the present channel's joiners took."""

    def serve(self, channel: Channel, budget: int) -> int:
        """Write to some members of a channel; return what that took of the pass's budget."""
        spent_before = self._framer.spent_writes
        self._spent_on_joiners = 0
        fanout = channel.fanout or self._begin_fanout(channel)
        # Framing costs about a write, so a pass over many small channels ends in time as well.
        written = 1 + self._spent_on_joiners + fanout.write_slice(budget)
        if fanout.is_finished:
            channel.fanout = fanout.following
            if channel.fanout is None:
                self._end_fanout(channel, fanout)
        return written + self._framer.spent_writes - spent_before

    def _end_fanout(self, channel: Channel, fanout: Fanout | Walk[Any]) -> None:
        if isinstance(fanout, LossFanout):
            self._on_left(channel)
        else:
            channel.failures = 0
        channel.release_waiters()

    def _begin_fanout(self, channel: Channel) -> Fanout | Walk[Any]:
        """Take a channel's next batch, serve its joiners, and frame it for its members.

        If there is a loss to be told, or the batch shows one, that comes first.
        """
        if channel.has_untold_loss:
            return self._begin_telling(channel)
        batch = channel.take()
        for_members = _unseen(channel, batch)
        if for_members is None:
            channel.put_back(batch)
            channel.offset = None
            return self._begin_telling(channel)
        now = self._slow.now()
        if channel.flow.batch.interval_s:
            # What did not fit a frame of newest values need not wait: it has waited.
            is_left = channel.flow.conflates and channel.waiting
            channel.next_frame_at = now if is_left else now + channel.flow.batch.interval_s
        channel.sequence = batch[-1].sequence
        channel.advance(for_members)
        audience = batch[0].audience
        members = channel.audience(audience)
        batch_of = SharedBatches(self._batch)
        fanout = None
        if for_members and members.subscribers:
            shared = batch_of(channel, self._worth_sending(channel, for_members))
            self._metrics.frames_built.inc()
            self._metrics.deliveries.inc(len(members.sends) * len(shared.messages))
            fanout = Fanout(channel, shared, members, self._slow, now)
        first: Fanout | Walk[Any] | None = fanout
        if audience is Audience.EVERYONE and channel.joiners:
            first = self._serve_joiners(channel, batch, batch_of, fanout)
        if first is None:
            first = Fanout(channel, self._batch(channel, ()), NOBODY, self._slow, now)
        channel.fanout = first
        return first

    def _worth_sending(self, channel: Channel, messages: Sequence[Waiting]) -> Sequence[Waiting]:
        """Leave out values that are no longer the newest, where the channel wants no others."""
        if not channel.flow.conflates:
            return messages
        values = newest(messages)
        self._metrics.conflated.inc(channel.superseded + len(messages) - len(values))
        channel.superseded = 0
        return values

    def _batch(self, channel: Channel, messages: Sequence[Waiting]) -> Batch:
        frame = self._framer.frame(self._codec.join([message.payload for message in messages]))
        return Batch(channel.name, channel.flow.slow, frame, messages)

    # --- joiners -------------------------------------------------------------------------------

    def serve_joiner(self, channel: Channel, joiner: Joiner, kept: Sequence[Waiting]) -> None:
        """Give a joiner that was just answered what was kept for it."""
        self._serve_joiner(channel, joiner, kept, self._batch)

    def _serve_joiners(
        self,
        channel: Channel,
        batch: Sequence[Waiting],
        batch_of: BatchOf,
        fanout: Fanout | None,
    ) -> Fanout | Walk[Any] | None:
        """Keep a batch for joiners that await their answers, and give it to the others.

        Returns what is to be done next: a walk over a crowd, or the fan-out that follows it.
        """
        if channel.kept_messages is not None:
            channel.kept_messages.add(batch)
        if channel.unanswered == len(channel.joiners):
            return fanout
        joiners = [each for each in channel.joiners.values() if each.position is not None]

        def serve(joiner: Joiner) -> None:
            if channel.joiners.get(joiner.subscriber) is joiner:
                self._serve_joiner(channel, joiner, batch, batch_of)

        if len(joiners) > MOST_JOINERS_AT_ONCE:
            return Walk(joiners, serve, writes_each=WRITES_PER_JOINER, following=fanout)
        for joiner in joiners:
            serve(joiner)
        self._spent_on_joiners = WRITES_PER_JOINER * len(joiners)
        return fanout

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
            is_whole = continues(following, joiner.position, joiner.epoch)
            if not is_whole and self.end_position(channel, subscriber):
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

    # --- losses --------------------------------------------------------------------------------

    def _begin_telling(self, channel: Channel) -> LossFanout:
        channel.has_untold_loss = False
        fanout = channel.fanout = LossFanout(
            channel.with_a_position(), partial(self._tell_loss, channel)
        )
        return fanout

    def _tell_loss(self, channel: Channel, subscriber: Subscriber) -> None:
        try:
            self.end_position(channel, subscriber)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
            failures.current().callback_failed("delivery", error)
            # Nothing later may reach it: if it comes back, it comes with its last position.
            channel.remove(subscriber)
            subscriber.outbound.transport.abort()

    def end_position(self, channel: Channel, subscriber: Subscriber) -> bool:
        """Tell a subscriber that it missed something; return whether it is gone by that."""
        if not subscriber.lose_position(channel.name):
            return False
        channel.remove(subscriber)
        self._on_left(channel)
        self._metrics.positions_lost.inc()
        return True


def _unseen(channel: Channel, batch: Sequence[Waiting]) -> Sequence[Waiting] | None:
    """Return what a channel's members have not seen of a batch; None: there is a hole before it.

    A hole, or another epoch, means that this node missed something of the channel: its members are
    told, and recover from their own position. Joiners look for themselves.
    """
    if channel.offset is None:
        return batch
    fresh = beyond(batch, channel.offset, channel.epoch)
    if continues(fresh, channel.offset, channel.epoch):
        return fresh
    logger.warning(
        "channel %s: expected offset %d of epoch %s, got %d of epoch %s",
        channel.name,
        channel.offset + 1,
        channel.epoch,
        fresh[0].offset,
        fresh[0].epoch,
    )
    return None
