"""After a doubt: each channel is compared with the store, filled from its history, else told.

A doubt is a hole in the inbox, a new identity (what was published meanwhile went to nobody), a
rotated generation, or what the sweep found. Nothing is handed to the receiver while this runs, so
its position in a channel is all it was given. A channel is whole when the store is in the same
epoch at that position, or has everything that follows it: that is handed over as if it had come
through the inbox, and nobody notices. Of every other channel the subscribers are told; of one
without history nothing can be known but that there was a doubt, and it is logged.

The epoch compared holds the generation, so after a loss of acknowledged writes no channel counts as
whole. Offsets alone would not do: those of a lost publication are given out again.

Bounds: `_CHANNELS_AT_ONCE` comparisons are out together, `_PAGE` publications are read with one. It
is repeated until Redis has answered for every channel; meanwhile nothing is read from the inbox.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from realtime_node import failures
from realtime_node.backoff import Backoff
from realtime_node.cluster.backplane import Entry, EntryKind, Receiver
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import StreamPosition
from realtime_node.supervision import is_asked_for

from .all_of import all_of
from .entries import UnreadableEntryError
from .inspection import Inspection, Inspector
from .instruments import Instruments
from .options import RedisOptions

_log = logging.getLogger(__name__)

_CHANNELS_AT_ONCE: Final = 64
_PAGE: Final = 256
_TRIES: Final = 2
"""Of what raises when it is handed over, after it did so once already."""


class Repair:
    """Brings the receiver to where the store is, channel by channel."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        inspector: Inspector,
        receiver: Receiver,
        instruments: Instruments,
        *,
        wanted: Callable[[int], Sequence[str]],
        on_overtaken: Callable[[int, str], Awaitable[None]],
    ) -> None:
        """`wanted` lists this node's channels of a partition.

        `on_overtaken` is told when the receiver was given more than the store has, and why.
        """
        self._max_delay_s = options.reconnect_max_delay_s
        self._inspector = inspector
        self._receiver = receiver
        self._instruments = instruments
        self._wanted = wanted
        self._on_overtaken = on_overtaken
        # Channel → where it was filled up to, while the inbox may still bring that once more.
        self._filled: dict[str, StreamPosition] = {}
        self._filled_until: dict[int, int] = {}

    async def run(self, partition: int, sequence: int, channels: Sequence[str] | None) -> None:
        """Compare `channels` (None: all) of a partition whose inbox was read up to `sequence`."""
        names = self._wanted(partition) if channels is None else channels
        positions = self._receiver.positions(names)
        unknown = [name for name in names if name not in positions]
        self._tell(partition, unknown)
        told = 0
        places = iter(positions.items())
        while chunk := list(itertools.islice(places, _CHANNELS_AT_ONCE)):
            pages = await all_of(*(self._page(*place) for place in chunk))
            lost = [
                channel
                for (channel, position), page in zip(chunk, pages, strict=True)
                if not await self._fill(partition, sequence, channel, position, page)
            ]
            self._tell(partition, lost)
            told += len(lost)
        self._instruments.repaired(len(positions) - told, told, len(unknown))
        _log.warning(
            "partition %d: %d channels are whole, %d have to be told, %d have no position",
            partition,
            len(positions) - told,
            told,
            len(unknown),
        )

    def fresh(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Leave out what was handed over already, when a channel was filled."""
        if not self._filled or not entries:
            return entries
        last = entries[-1]
        kept = [entry for entry in entries if not self._is_known(entry)]
        if last.sequence >= self._filled_until.get(last.partition, -1):
            self._filled_until.pop(last.partition, None)
            if not self._filled_until:
                self._filled.clear()
        return kept

    def forget(self) -> None:
        """Begin with another inbox."""
        self._filled.clear()
        self._filled_until.clear()

    def _is_known(self, entry: Entry) -> bool:
        filled = self._filled.get(entry.channel)
        return (
            filled is not None
            and entry.publication is not None
            and entry.epoch == filled.epoch
            and entry.publication.offset <= filled.offset
        )

    def _tell(self, partition: int, channels: Sequence[str]) -> None:
        if channels:
            self._receiver.lost(partition, channels)

    async def _page(self, channel: str, position: StreamPosition) -> Inspection | None:
        """What follows a position; None if another release wrote it."""
        backoff = Backoff(self._max_delay_s)
        while True:
            try:
                return await self._inspector.inspect(channel, since=position.offset, limit=_PAGE)
            except UnreadableEntryError:
                return None
            except BackplaneError as error:
                _log.info("comparing %s with the store is tried again: %s", channel, error)
            await asyncio.sleep(backoff.next())

    async def _fill(
        self,
        partition: int,
        sequence: int,
        channel: str,
        position: StreamPosition,
        page: Inspection | None,
    ) -> bool:
        """Hand over what follows a position; whether the channel is whole by that."""
        while page is not None and page.top.epoch == position.epoch:
            if page.top.offset == position.offset:
                return True
            if page.top.offset < position.offset:
                reason = f"{channel} was delivered up to {position.offset} of {page.top.offset}"
                await self._on_overtaken(partition, reason)
                return False
            offsets = [publication.offset for publication in page.publications]
            following = position.offset + 1
            if not offsets or offsets != list(range(following, following + len(offsets))):
                return False
            if not await self._hand_over(partition, sequence, channel, page):
                return False
            position = StreamPosition(offset=offsets[-1], epoch=position.epoch)
            self._filled[channel] = position
            until = self._filled_until.get(partition, -1)
            self._filled_until[partition] = max(until, page.newest)
            page = await self._page(channel, position)
        return False

    async def _hand_over(
        self, partition: int, sequence: int, channel: str, page: Inspection
    ) -> bool:
        """Hand over a page; False: something in it raised as often as it was tried."""
        entries = [
            Entry(
                partition=partition,
                sequence=sequence,
                kind=EntryKind.PUBLICATION,
                channel=channel,
                epoch=page.top.epoch,
                publication=publication,
            )
            for publication in page.publications
        ]
        failed_at, tries = -1, 0
        while entries:
            try:
                await self._receiver.receive(entries)
            except BaseException as error:
                if is_asked_for(error) or not isinstance(error, Exception | asyncio.CancelledError):
                    raise
                failures.current().callback_failed("redis-handover", error)
            else:
                return True
            reached = self._receiver.positions((channel,)).get(channel)
            at = reached.offset if reached is not None and reached.epoch == page.top.epoch else -1
            entries = [
                each for each in entries if each.publication and each.publication.offset > at
            ]
            tries = tries + 1 if at == failed_at else 1
            failed_at = at
            if tries >= _TRIES:
                self._instruments.set_aside(1)
                return False
        return True
