"""Hands inbox entries to the receiver, and sets aside what cannot be handed over.

A receiver is not to raise; where it does, a bug must not cost more than the channel that it showed
with. What it had taken of the batch is not known then. So the channels of the batch are compared
with the store, and what is missing comes from their histories (`repair`), which tries each
publication twice more. An entry that raised three times is given up: its channel is told, and
everything else goes on.

What another release wrote in a way that this one cannot read is given up at once, likewise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from realtime_node import failures
from realtime_node.cluster.backplane import Entry, EntryKind, Receiver
from realtime_node.supervision import guard, is_asked_for

from .entries import UnreadableEntryError, channel_of, decode_entry
from .instruments import Instruments
from .repair import Repair

_log = logging.getLogger(__name__)

Rows = Sequence[tuple[bytes, Sequence[bytes]]]
"""Ids of entries, and of each its header and its payload."""


class Handover:
    """Between the reader of an inbox and its receiver."""

    def __init__(self, receiver: Receiver, repair: Repair, instruments: Instruments) -> None:
        """`repair` compares channels with the store."""
        self._receiver = receiver
        self._repair = repair
        self._instruments = instruments

    async def hand_over(self, partition: int, first: int, rows: Rows) -> bool:
        """Decode rows, the first of which has the sequence `first`, and hand them over.

        Returns False when something was lost that no channel is known for.
        """
        entries: list[Entry] = []
        is_known = True
        for sequence, (_, (header, payload)) in enumerate(rows, first):
            try:
                entry = decode_entry(partition, sequence, header, payload)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next entry is another
                await self._give(partition, entries)
                entries = []
                is_known &= self._skip(partition, header, error)
                continue
            if entry is not None:
                entries.append(entry)
        await self._give(partition, entries)
        return is_known

    async def _give(self, partition: int, entries: Sequence[Entry]) -> None:
        self._instruments.entries(len(entries))
        fresh = self._repair.fresh(entries)
        if not fresh:
            return
        try:
            await self._receiver.receive(fresh)
        except BaseException as error:
            if is_asked_for(error) or not isinstance(error, Exception | asyncio.CancelledError):
                raise
            failures.current().callback_failed("redis-handover", error)
            await self._give_again(partition, fresh)

    async def _give_again(self, partition: int, entries: Sequence[Entry]) -> None:
        """Bring the receiver to where these entries lead, though it raised with some of them."""
        for entry in entries:
            if entry.kind is EntryKind.CONTROL:  # to be done twice does no harm
                with guard("redis-handover"):
                    await self._receiver.receive([entry])
        channels = list(dict.fromkeys(entry.channel for entry in entries if entry.channel))
        if channels:
            await self._repair.run(partition, entries[0].sequence - 1, channels)

    def _skip(self, partition: int, header: bytes, error: Exception) -> bool:
        """Give an entry up; tell its channel, if its name can be read."""
        bug = None if isinstance(error, UnreadableEntryError) else error
        _log.error("an entry of inbox %d was skipped: %s", partition, error, exc_info=bug)
        self._instruments.unreadable(1)
        try:
            channel = channel_of(header)
        except UnicodeDecodeError:
            return False
        if channel:
            self._receiver.lost(partition, [channel])
        return True
