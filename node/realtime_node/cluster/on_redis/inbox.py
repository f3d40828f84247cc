"""The reader of this node's inbox: takes entries out in order, notices holes, trims what it took.

It has a connection of its own, on which XREAD waits. The sequence it reached is all it needs to go
on after the connection was lost: Redis keeps what comes in meanwhile. Whatever puts the positions
of its partition's channels in doubt (a hole, a new identity, an inbox that is another one than it
was) goes through `repair` before the next entry is handed over.

Bounds: `inbox_read_count` entries per read and partition, and no read before the receiver has taken
the last one: a node that delivers slowly reads slowly. The inbox itself is bounded by the
scripts that write into it; what they pushed out shows here as a hole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from realtime_node.backoff import Backoff
from realtime_node.cluster.backplane import Receiver
from realtime_node.errors import BackplaneError, GarbledReplyError
from realtime_node.supervision import supervise

from .continuity import Continuity
from .deadline import until
from .handover import Handover, Rows
from .inbox_ids import entry_id, sequence_of
from .instruments import Instruments
from .link import CONNECTION_FAILURES, Link, OpenLink
from .options import RedisOptions
from .outage import Outage
from .repair import Repair
from .replies import Reply, array, number, reading, rows
from .script import pack
from .traces import Traces

_log = logging.getLogger(__name__)


class _Position:
    """How far one partition's inbox has been read."""

    __slots__ = ("fields", "key", "partition", "sequence", "trimmed", "trimmed_at")

    def __init__(self, partition: int, key: bytes) -> None:
        self.partition = partition
        self.key = key
        self.sequence = -1
        self.fields: Sequence[bytes] | None = None
        self.trimmed = -1
        self.trimmed_at = float("-inf")

    @property
    def id(self) -> bytes:
        return entry_id(self.sequence) if self.sequence >= 0 else b"0"


class _Batch(NamedTuple):
    """What one read brought of one partition."""

    position: _Position
    first: int
    """Sequence of the first entry."""
    rows: Rows


class InboxReader:
    """Hands a node's inbox to its receiver."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        open_link: OpenLink,
        receiver: Receiver,
        instruments: Instruments,
        *,
        continuity: Continuity,
        repair: Repair,
        traces: Traces,
        name: str,
        on_vanished: Callable[[], None],
    ) -> None:
        """`name` is the connection's.

        `on_vanished` is told when an inbox is gone; it shall `switch` to a new one.
        """
        self._options = options
        self._open_link = open_link
        self._receiver = receiver
        self._instruments = instruments
        self._continuity = continuity
        self._repair = repair
        self._handover = Handover(receiver, repair, instruments)
        self._traces = traces
        self._name = name
        self._on_vanished = on_vanished
        self._positions: dict[bytes, _Position] = {}
        # Whose inboxes these are.
        self._node = ""
        # Held while something is handed over, or compared: one of both at a time.
        self._handing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        # Partitions to be compared before more is handed over.
        self._doubted: set[int] = set()
        self._comparing: asyncio.Task[None] | None = None

    async def switch(self, inboxes: Mapping[int, bytes], *, lost: bool) -> None:
        """Read these inboxes, by partition, from their first entry on.

        `lost`: what was published before that went to no inbox of this node.
        """
        await self.close()
        self._repair.forget()
        self._node = self._traces.node
        self._positions = {key: _Position(partition, key) for partition, key in inboxes.items()}
        if lost:
            self._doubted.update(inboxes)
        self._task = supervise(self._run, name="redis-inbox")

    async def close(self) -> None:
        """Stop reading."""
        tasks = [task for task in (self._task, self._comparing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = self._comparing = None
        self._doubted.clear()

    def sequence(self, partition: int) -> int:
        """The sequence of the last entry that was handed over, -1: none yet."""
        for position in self._positions.values():
            if position.partition == partition:
                return position.sequence
        return -1

    def doubt(self, partition: int) -> None:
        """Have all channels of a partition compared with the store soon, without waiting."""
        self._doubted.add(partition)
        if self._comparing is None and self._task is not None:
            self._comparing = supervise(self._settle_apart, name="redis-repair")

    async def compare(self, partition: int, channels: Sequence[str] | None = None) -> None:
        """Compare channels of a partition (None: all) with the store: fill them, else tell."""
        async with self._handing:
            await self._repair.run(partition, self.sequence(partition), channels)

    async def _settle_apart(self) -> None:
        await self._settle()
        self._comparing = None

    async def _settle(self) -> None:
        while self._doubted:
            partition = self._doubted.pop()
            try:
                await self.compare(partition)
            except BaseException:
                self._doubted.add(partition)
                raise

    async def _run(self) -> None:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        outage = Outage(_log, f"the inbox of connection {self._name} cannot be read")
        while True:
            try:
                link = await self._open_link(self._name)
                try:
                    await self._resume(link)
                    backoff.reset()
                    outage.end()
                    await self._read(link)
                finally:
                    await link.abort()
            except (*CONNECTION_FAILURES, BackplaneError) as error:
                if isinstance(error, GarbledReplyError):
                    self._instruments.garbled("inbox")
                outage.note(error)
            except BaseException:
                # A bug of ours. What was being handed over counts as read, so the same entry cannot
                # stop us twice; what else was in its batch is compared with the store.
                self._doubted.update(each.partition for each in self._positions.values())
                raise
            await asyncio.sleep(backoff.next())
            self._instruments.reconnected("inbox")

    # --- before the first read of a connection --------------------------------------------------

    async def _resume(self, link: Link) -> None:
        async with asyncio.timeout(self._options.command_timeout_s):
            partitions = [position.partition for position in self._positions.values()]
            await self._continuity.check(link, partitions)
            for position in self._positions.values():
                if not await self._can_go_on(link, position):
                    self._on_vanished()
                    await asyncio.get_running_loop().create_future()
        await self._settle()

    async def _can_go_on(self, link: Link, position: _Position) -> bool:
        """Whether there is an inbox to read; a position that it does not hold is moved."""
        key = position.key
        oldest = await link.call(b"XRANGE", key, b"-", b"+", b"COUNT", 1, read=rows)
        if not oldest:
            return False
        with reading("XRANGE"):
            first = sequence_of(oldest[0][0])
        if position.fields is None or first > position.sequence:
            # Nothing read so far, or trimmed below us, which shows as a hole with the next entry.
            return True
        same = await link.call(b"XRANGE", key, position.id, position.id, read=rows)
        if same and same[0][1] == position.fields:
            return True
        newest = await link.call(b"XREVRANGE", key, b"+", b"-", b"COUNT", 1, read=rows)
        with reading("XREVRANGE"):
            last, fields = sequence_of(newest[0][0]), newest[0][1]
        self._instruments.gap(position.partition)
        self._doubted.add(position.partition)
        self._reached(position, last, fields)
        position.trimmed = -1
        return True

    def _reached(self, position: _Position, sequence: int, fields: Sequence[bytes]) -> None:
        position.sequence, position.fields = sequence, fields
        self._traces.took(self._node, position.partition, sequence, fields)

    # --- reading --------------------------------------------------------------------------------

    async def _read(self, link: Link) -> None:
        block_ms = int(self._options.inbox_block_s * 1000)
        patience_s = self._options.inbox_block_s + self._options.command_timeout_s
        head = (b"XREAD", b"COUNT", self._options.inbox_read_count, b"BLOCK", block_ms, b"STREAMS")
        while True:
            commands = self._trims()
            positions = self._positions.values()
            commands.append(pack(*head, *self._positions, *[position.id for position in positions]))
            async with until(asyncio.get_running_loop().time() + patience_s):
                await link.write(commands)
                replies = [await link.read() for _ in commands]
            with reading("XREAD"):
                for trimmed in replies[:-1]:
                    number(trimmed)
                batches = self._batches(replies[-1])
            for batch in batches:
                await self._take(batch)

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

    def _batches(self, reply: Reply) -> list[_Batch]:
        """Read what XREAD brought; None: nothing came within its time."""
        return [] if reply is None else [self._batch(*each) for each in array(reply)]

    def _batch(self, key: bytes, entries: Reply) -> _Batch:
        found = rows(entries)
        first, last = sequence_of(found[0][0]), sequence_of(found[-1][0])
        # Entries leave a stream at its old end only: within what was read there is no hole.
        if last - first != len(found) - 1:
            raise ValueError(f"{len(found)} entries are numbered {first} to {last}")
        return _Batch(self._positions[key], first, found)

    async def _take(self, batch: _Batch) -> None:
        position, first = batch.position, batch.first
        partition = position.partition
        async with self._handing:
            if first != position.sequence + 1:
                _log.error(
                    "inbox %d has a hole: %d follows %d", partition, first, position.sequence
                )
                self._instruments.gap(partition)
                await self._repair.run(partition, position.sequence, None)
            self._reached(position, first + len(batch.rows) - 1, batch.rows[-1][1])
            if not await self._handover.hand_over(partition, first, batch.rows):
                self._receiver.lost(partition, None)
