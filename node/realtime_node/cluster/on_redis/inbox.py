"""The reader of this node's inbox: takes entries out in order, notices holes, trims what it took.

It has a connection of its own, on which XREAD waits. The sequence it reached is all it needs to go
on after the connection was lost: Redis keeps what comes in meanwhile. Before it goes on it compares
the last entry that it took with the one Redis has under that id: if Redis holds another, or ends
before it, acknowledged writes are gone (a stale replica was promoted, a file was cut off), and
every channel of the partition is reported lost.

Bounds: `inbox_read_count` entries per read and partition, and no read before the receiver has taken
the last one: a node that delivers slowly reads slowly. The inbox itself is bounded by the
scripts that write into it; what they pushed out shows here as a hole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.cluster.backplane import Entry, Receiver

from .backoff import Backoff
from .entries import UnreadableEntryError, channel_of, decode_entry
from .instruments import Instruments
from .link import CONNECTION_FAILURES, Link, OpenLink, Reply, describe_failure
from .options import RedisOptions
from .script import pack

_log = logging.getLogger(__name__)

# Ids are `1-<sequence>`: the scripts write them with `XADD … 1-*`.
_ID: Final = b"1-%d"
_ID_PREFIX_LENGTH: Final = 2


class _Position:
    """How far one partition's inbox has been read."""

    __slots__ = ("fields", "key", "partition", "sequence", "trimmed", "trimmed_at")

    def __init__(self, partition: int, key: bytes) -> None:
        self.partition = partition
        self.key = key
        self.sequence = -1
        self.fields: list[bytes] | None = None
        self.trimmed = -1
        self.trimmed_at = float("-inf")

    @property
    def id(self) -> bytes:
        return _ID % self.sequence if self.sequence >= 0 else b"0"


class InboxReader:
    """Hands a node's inbox to its receiver."""

    def __init__(
        self,
        options: RedisOptions,
        open_link: OpenLink,
        receiver: Receiver,
        instruments: Instruments,
        *,
        on_vanished: Callable[[], None],
    ) -> None:
        """`on_vanished` is told when an inbox is gone; it shall `switch` to a new one."""
        self._options = options
        self._open_link = open_link
        self._receiver = receiver
        self._instruments = instruments
        self._on_vanished = on_vanished
        self._positions: dict[bytes, _Position] = {}
        self._task: asyncio.Task[None] | None = None

    async def switch(self, inboxes: Sequence[bytes], *, lost: bool) -> None:
        """Read these inboxes, one per partition, from their first entry on.

        `lost` reports all channels lost between the last entry of the old and the first of the new.
        """
        await self.close()
        if lost:
            for partition in range(len(inboxes)):
                self._receiver.lost(partition, None)
        self._positions = {key: _Position(partition, key) for partition, key in enumerate(inboxes)}
        self._task = asyncio.get_running_loop().create_task(self._run(), name="redis-inbox")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        known = ""
        while True:
            try:
                link = await self._open_link("inbox")
                try:
                    await self._resume(link)
                    backoff.reset()
                    known = ""
                    await self._read(link)
                finally:
                    await link.abort()
            except CONNECTION_FAILURES as error:
                failure = describe_failure(error)
                # Once per outage and cause: it is tried every few moments.
                level = logging.DEBUG if failure == known else logging.WARNING
                _log.log(level, "the inbox cannot be read: %s", failure)
                known = failure
            await asyncio.sleep(backoff.next())
            self._instruments.reconnected("inbox")

    # --- before the first read of a connection --------------------------------------------------

    async def _resume(self, link: Link) -> None:
        async with asyncio.timeout(self._options.command_timeout_s):
            for position in self._positions.values():
                if not await self._can_go_on(link, position):
                    self._on_vanished()
                    await asyncio.get_running_loop().create_future()

    async def _can_go_on(self, link: Link, position: _Position) -> bool:
        """Whether there is an inbox to read; a position that it does not hold is moved."""
        key = position.key
        oldest = await link.call(b"XRANGE", key, b"-", b"+", b"COUNT", 1)
        if not oldest:
            return False
        if position.fields is None or _sequence_of(oldest[0]) > position.sequence:
            # Nothing read so far, or trimmed below us, which shows as a hole with the next entry.
            return True
        same = await link.call(b"XRANGE", key, position.id, position.id)
        if same and same[0][1] == position.fields:
            return True
        newest = await link.call(b"XREVRANGE", key, b"+", b"-", b"COUNT", 1)
        _log.error(
            "Redis lost acknowledged writes: inbox %d was read up to %d and now ends with %s",
            position.partition,
            position.sequence,
            newest[0][0].decode(),
        )
        self._lose(position)
        position.sequence, position.fields = _sequence_of(newest[0]), newest[0][1]
        position.trimmed = -1
        return True

    # --- reading --------------------------------------------------------------------------------

    async def _read(self, link: Link) -> None:
        block_ms = int(self._options.inbox_block_s * 1000)
        patience_s = self._options.inbox_block_s + self._options.command_timeout_s
        head = (b"XREAD", b"COUNT", self._options.inbox_read_count, b"BLOCK", block_ms, b"STREAMS")
        while True:
            commands = self._trims()
            trims = len(commands)
            positions = self._positions.values()
            commands.append(pack(*head, *self._positions, *[position.id for position in positions]))
            async with asyncio.timeout(patience_s):
                await link.write(commands)
                for _ in range(trims):
                    await link.read()
                reply = await link.read()
            for key, rows in reply or ():
                await self._take(self._positions[key], rows)

    def _trims(self) -> list[bytes]:
        """Commands that free what was read; the last read entry stays, to be compared later."""
        now = asyncio.get_running_loop().time()
        commands: list[bytes] = []
        for position in self._positions.values():
            fresh = position.sequence - position.trimmed
            waited = now - position.trimmed_at
            if fresh >= self._options.inbox_trim_entries or (
                fresh > 0 and waited >= self._options.inbox_trim_interval_s
            ):
                position.trimmed = position.sequence
                position.trimmed_at = now
                commands.append(pack(b"XTRIM", position.key, b"MINID", b"~", position.id))
        return commands

    async def _take(self, position: _Position, rows: Reply) -> None:
        # Entries leave a stream at its old end only: within what was read there is no hole.
        first = _sequence_of(rows[0])
        if first != position.sequence + 1:
            _log.error(
                "inbox %d has a hole: %d follows %d",
                position.partition,
                first,
                position.sequence,
            )
            self._lose(position)
        partition = position.partition
        entries: list[Entry] = []
        for sequence, (_, fields) in enumerate(rows, first):
            try:
                entry = decode_entry(partition, sequence, fields[0], fields[1])
            except UnreadableEntryError as error:
                await self._hand_over(entries)
                entries = []
                self._skip(position, fields[0], error)
                continue
            if entry is not None:
                entries.append(entry)
        position.sequence = first + len(rows) - 1
        position.fields = rows[-1][1]
        await self._hand_over(entries)

    async def _hand_over(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._instruments.entries(len(entries))
            await self._receiver.receive(entries)

    def _skip(self, position: _Position, header: bytes, error: UnreadableEntryError) -> None:
        _log.error("an entry of inbox %d was skipped: %s", position.partition, error)
        self._instruments.unreadable(1)
        channel = channel_of(header)
        if channel:
            self._receiver.lost(position.partition, [channel])

    def _lose(self, position: _Position) -> None:
        self._instruments.gap(position.partition)
        self._receiver.lost(position.partition, None)


def _sequence_of(row: Reply) -> int:
    return int(row[0][_ID_PREFIX_LENGTH:])
