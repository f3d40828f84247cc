"""Clients that dead nodes left behind: taken out of presence when their grace has ended.

The janitor leaves the clients of a dead node present whose sessions may come back. Who comes back
is entered anew by its node; for the others a heartbeat of some node finds that their time is up,
and this takes them out and announces their leave.

Bound: `_AT_ONCE` clients per step; what is left is found again with the next heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from realtime_node.cluster.backplane import EntryKind
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import ClientInfo
from realtime_node.supervision import supervise

from .commands import Commands
from .entries import UnreadableEntryError, decode_info
from .keys import Keys
from .replies import Reply, datas, number
from .runner import Call, Runner, always
from .script import PRESENCE_LAPSE, pack

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 128

Announce = Callable[[str, EntryKind, ClientInfo], Awaitable[None]]


class Departed:
    """Lets the clients of dead nodes go."""

    def __init__(
        self, keys: Keys, runner: Runner, writes: Sequence[Commands], *, announce: Announce
    ) -> None:
        """`writes` are the connections by partition; `announce` tells a channel of a leave."""
        self._keys = keys
        self._runner = runner
        self._writes = writes
        self._announce = announce
        self._noticed: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop; what is left is another node's work."""
        self._noticed.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notice(self, partition: int) -> None:
        """Take note that there are clients whose grace has ended."""
        self._noticed.add(partition)
        if self._task is None:
            self._task = supervise(self._work, name="redis-departed")

    async def _work(self) -> None:
        while self._noticed:
            partition = self._noticed.pop()
            try:
                await self._let_go(partition)
            except BackplaneError as error:
                # It is noticed again with one of the next heartbeats.
                _log.warning("clients of dead nodes stay present a little longer: %s", error)
            except BaseException:
                self._noticed.add(partition)
                raise
        self._task = None

    async def _let_go(self, partition: int) -> None:
        key, writes = self._keys.partition(partition).departed, self._writes[partition]
        now_ms = await writes.execute(pack(b"TIME"), read=_milliseconds)
        due = await writes.execute(
            pack(b"ZRANGEBYSCORE", key, b"-inf", now_ms, b"LIMIT", 0, _AT_ONCE), read=_members
        )
        if not due:
            return
        touched = [
            each for channel in due.values() for each in self._keys.channel(channel).of_presence
        ]
        call: Call = (key, *touched), tuple(due)
        gone = await self._runner.run(
            writes, PRESENCE_LAPSE, always(call), read=partial(_entries, len(due))
        )
        for channel, entry in zip(due.values(), gone, strict=True):
            head, _, payload = entry.partition(b" ")
            if head.endswith(b"+1"):
                await self._announce_leave(channel, payload)
        if len(due) == _AT_ONCE:
            self._noticed.add(partition)

    async def _announce_leave(self, channel: str, payload: bytes) -> None:
        try:
            await self._announce(channel, EntryKind.LEAVE, decode_info(payload))
        except UnreadableEntryError as error:
            _log.warning("a leave of %s is not announced: %s", channel, error)


def _milliseconds(reply: Reply) -> int:
    seconds, micros = reply
    return number(seconds) * 1000 + number(micros) // 1000


def _members(reply: Reply) -> dict[bytes, str]:
    """Read `<client> <channel>` of each, and its channel."""
    return {member: member.partition(b" ")[2].decode() for member in datas(reply)}


def _entries(count: int, reply: Reply) -> list[bytes]:
    _, entries = reply
    found = datas(entries)
    if len(found) != count:
        raise ValueError(f"{len(found)} entries, of {count} that were asked for")
    return found
