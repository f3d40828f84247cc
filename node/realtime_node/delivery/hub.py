"""The hub: inbox entries in, one shared frame per batch and channel out.

`receive` (called by the backplane's reader) encodes each message once and files it under its
channel. In the next pass of the loop `rounds` serves the channels that have something: the
`dispatcher` takes a batch, frames it once and writes the same bytes to every member. A pass writes
to a bounded number of clients and then lets the loop breathe, so a channel of any size delays
nobody for longer than a few milliseconds; what arrives for a channel while its fan-out is under way
shares the next frame, which is how the hub gets cheaper, not slower, under load.

What fails unexpectedly costs the channel it belongs to: the entry or the frame is dropped and
counted, and those who follow the channel's stream are told to recover, as they are when the store
lost something. When three frames in a row fail, everything that waits in the channel is dropped.

Full: when half of `MAX_BACKLOG` messages wait, no channel waits for its interval or its stagger any
more, so that what is left to wait for is the writing. When `MAX_BACKLOG` wait, `receive` does not
return until half of them are out, so the reader stops reading and the backlog stays in the store,
where it is bounded and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from realtime_node import failures
from realtime_node.cluster.backplane import Control, Entry
from realtime_node.delivery.channel import MAX_FAILURES, Channel
from realtime_node.delivery.dispatcher import Dispatcher
from realtime_node.delivery.encoding import waiting_of
from realtime_node.delivery.flow import Flow
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.joining import Joiner, position_after
from realtime_node.delivery.rounds import Rounds
from realtime_node.delivery.slow_clients import SlowClients
from realtime_node.delivery.subscribers import Subscriber
from realtime_node.protocol.codec import Codec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.supervision import guard
from realtime_node.telemetry.metrics import DeliveryMetrics

logger = logging.getLogger(__name__)

MAX_BACKLOG: Final = 20_000
"""Messages that may wait for their frames on one node."""
PAUSE_S: Final = 1.0
"""Before a channel is served again that failed `MAX_FAILURES` times in a row."""


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
        on_control: Callable[[Control], Awaitable[None] | None],
    ) -> None:
        """Report channels that lost their last subscriber, and hand control messages on.

        What `on_control` returns is awaited before more is received.
        `flow_of` is asked for the rules of every channel that gets its first subscriber, and when
        rules have changed.
        """
        self._codec = codec
        self._metrics = metrics
        self._slow = slow
        self._dispatcher = Dispatcher(
            codec, metrics, slow, framer=framer, on_left=self._drop_if_deserted
        )
        self._flow_of = flow_of
        self._on_deserted = on_deserted
        self._on_control = on_control
        self._channels: dict[str, Channel] = {}
        self._rounds = Rounds(
            self._serve, on_failed=self._serve_failed, on_pass=self._make_room, now=slow.now
        )
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
        joiner = channel.begin_join(subscriber, wants_join_leave=wants_join_leave)
        if not follows_stream:
            channel.loose.add(subscriber)
        return joiner

    def finish_join(self, name: str, joiner: Joiner, top: StreamPosition) -> None:
        """Start delivery behind `top`, right after the subscriber was told this position.

        Ask `joiner.is_incomplete` before: then it is better to let the subscriber ask again than to
        tell it a position that is lost at once.
        """
        channel = self._channels[name]
        if joiner.is_incomplete and self._dispatcher.end_position(channel, joiner.subscriber):
            return
        kept = channel.answer(joiner, top)
        if top.epoch and channel.offset is None and not channel.loose:
            channel.offset = position_after(top.offset, top.epoch, kept)
            channel.epoch = top.epoch
        self._dispatcher.serve_joiner(channel, joiner, kept)

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
                channel.retune(self._flow_of(name))
                self._recount(channel)

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
        return None if channel is None else channel.wait_delivered(sequence)

    # --- The backplane's receiver --------------------------------------------------------------

    async def receive(self, entries: Sequence[Entry]) -> None:
        """File entries under their channels; return once there is room for more."""
        applying: Awaitable[None] | None = None
        for entry in entries:
            try:
                if entry.control is not None:
                    applying = self._on_control(entry.control) or applying
                else:
                    self._file(entry)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
                self._file_failed(entry, error)
        with guard("delivery"):
            self._metrics.entries_received.inc(len(entries))
        if self._backlog >= MAX_BACKLOG // 2:
            self._rounds.hurry()
        self._rounds.schedule()
        if applying is not None:
            await applying
        # One partition's entries may take the room that another's wait for.
        while self._backlog >= MAX_BACKLOG:
            self._has_room.clear()
            await self._has_room.wait()

    def _file(self, entry: Entry) -> None:
        if channel := self._channels.get(entry.channel):
            channel.gather(waiting_of(entry, channel.flow, self._codec))
            waiting = len(channel.waiting)
            self._backlog += waiting - channel.counted
            channel.counted = waiting
            if not channel.is_queued:
                self._rounds.plan(channel)
            elif channel.due is not None:
                self._rounds.hasten(channel)

    def _file_failed(self, entry: Entry, error: BaseException) -> None:
        """Let an entry that cannot be taken cost its channel: the reader reads for everybody."""
        error.add_note(f"while an entry of channel {entry.channel!r} was taken")
        failures.current().callback_failed("delivery", error)
        with guard("delivery"):
            if channel := self._channels.get(entry.channel):
                self._recount(channel)
                self._lose(channel)
        with guard("delivery"):
            self._metrics.entries_failed.inc()

    def _recount(self, channel: Channel) -> None:
        """Take what waits in a channel into the backlog's account."""
        waiting = len(channel.waiting)
        self._backlog += waiting - channel.counted
        channel.counted = waiting

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
        """Tell subscribers that messages of their channels are gone.

        They are told in the next passes, and written nothing later before.
        """
        names = list(self._channels) if channels is None else channels
        logger.warning(
            "partition %d lost inbox entries; %d channels have to recover", partition, len(names)
        )
        for name in names:
            if channel := self._channels.get(name):
                self._lose(channel)
        self._rounds.schedule()

    def _lose(self, channel: Channel) -> None:
        """End every position that was given out in a channel, or is about to be."""
        if channel.note_loss():
            self._rounds.enqueue(channel)

    # --- Delivery ------------------------------------------------------------------------------

    def _serve(self, channel: Channel, budget: int) -> int:
        """Write to some members of a channel; return what that took of the pass's budget."""
        spent = self._dispatcher.serve(channel, budget)
        self._recount(channel)
        return spent

    def _serve_failed(self, channel: Channel) -> None:
        """Drop the frame that failed; those who follow the stream recover what was in it."""
        fanout, channel.fanout = channel.fanout, None
        channel.failures += 1
        if channel.failures >= MAX_FAILURES:
            channel.drop_waiting()
            channel.next_frame_at = self._slow.now() + PAUSE_S
        dropped = channel.counted - len(channel.waiting)
        if fanout is not None:
            dropped += fanout.num_messages
        self._recount(channel)
        channel.note_loss()
        channel.release_waiters()
        self._metrics.entries_failed.inc(dropped)

    def _make_room(self) -> None:
        if self._backlog <= MAX_BACKLOG // 2:
            self._has_room.set()
        if self._backlog <= MAX_BACKLOG // 4:
            self._rounds.relax()

    def _drop_if_deserted(self, channel: Channel) -> None:
        """Forget a channel nobody listens to; what still waits for it is for nobody."""
        if not channel.is_deserted or self._channels.get(channel.name) is not channel:
            return
        del self._channels[channel.name]
        channel.drop_waiting()
        self._recount(channel)
        for _, future in channel.waiters:
            future.cancel()
        self._on_deserted(channel.name)
