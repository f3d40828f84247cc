"""The janitor: takes dead nodes out of Redis.

A node whose lease has ended is suspected first, and has beaten when one of the next heartbeats
brings it up again, or is declared dead. The tombstone comes before all else: from then on every
script refuses the dead node, should it wake up, and only then its interest and presence are taken
out, in small steps that may run twice and on several nodes at once. Its keys go last, so a janitor
that dies half-way leaves the rest to another. A node that leaves in order is its own janitor.

Clients whose sessions may come back stay
present until their grace ends (`departed`), and the records of sessions wait for their clients.

Bound: `_CHANNELS_AT_ONCE` channels and `_SESSIONS_AT_ONCE` sessions per step; nodes to clean are at
most those of the cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.errors import BackplaneError
from realtime_node.supervision import supervise

from .all_of import all_of
from .commands import Commands
from .instruments import Instruments
from .keys import Keys
from .options import RedisOptions
from .replies import OK, ok, one_of, texts
from .runner import Call, Runner, always
from .script import BURY, DECLARE_DEAD, FORGET, LEAVE, SESSION_ORPHAN, pack

_log = logging.getLogger(__name__)

# A step reads the whole presence of its channels in one script: few, so that Redis stays prompt.
_CHANNELS_AT_ONCE: Final = 32
_SESSIONS_AT_ONCE: Final = 256
# Longer than any command of a dead node can be under way; without it the node is fenced as well.
_TOMBSTONE_TTL_MS: Final = 3_600_000

_BUSY: Final = b"BUSY"
_OK_OR_ALIVE: Final = one_of(OK, b"ALIVE")


class Janitor:
    """Cleans up after nodes whose lease has ended."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Sequence[Commands],
        instruments: Instruments,
        *,
        node_id: Callable[[], str],
    ) -> None:
        """`writes` are the connections by partition."""
        self._lease_ms = int(options.lease_s * 1000)
        self._suspicion_ms = int(options.suspicion_s * 1000)
        self._keys = keys
        self._runner = runner
        self._writes = writes
        self._instruments = instruments
        self._node_id = node_id
        self._noticed: dict[tuple[int, str], None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to clean what is noticed."""
        self._task = supervise(self._work, name="redis-janitor")

    async def close(self) -> None:
        """Stop; what is left is another node's work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notice(self, partition: int, nodes: Sequence[str]) -> None:
        """Take note of nodes whose lease has ended."""
        for node in nodes:
            self._noticed[partition, node] = None
            self._wake.set()

    async def leave(self) -> None:
        """Take this node out in order, of every partition that can be reached.

        Raises `BackplaneUnavailableError` if that were not all. From here on it is fenced.
        """
        node = self._node_id()
        partitions = range(self._keys.partitions)
        departures = (self._leave(partition, node) for partition in partitions)
        await all_of(*departures)

    async def _leave(self, partition: int, node: str) -> None:
        own, shared = self._keys.node(partition, node), self._keys.partition(partition)
        leave: Call = (own.node, shared.nodes), (_TOMBSTONE_TTL_MS, node)
        await self._runner.run(self._writes[partition], LEAVE, always(leave), read=ok)
        await self._clean(partition, node)

    async def _work(self) -> None:
        while True:
            if not self._noticed:
                self._wake.clear()
                await self._wake.wait()
            partition, node = next(iter(self._noticed))
            del self._noticed[partition, node]
            try:
                if await self._declare_dead(partition, node):
                    _log.warning("node %s is dead: cleaning up after it", node)
                    await self._clean(partition, node)
                    self._instruments.buried(1)
            except BackplaneError as error:
                # It is noticed again with one of the next heartbeats.
                _log.warning("cleaning up after node %s was cut short: %s", node, error)

    async def _declare_dead(self, partition: int, dead: str) -> bool:
        def build() -> Call:
            return (
                (
                    self._keys.node(partition, self._node_id()).node,
                    self._keys.node(partition, dead).node,
                    self._keys.partition(partition).nodes,
                ),
                (dead, self._lease_ms, _TOMBSTONE_TTL_MS, self._suspicion_ms),
            )

        found = await self._runner.run(
            self._writes[partition], DECLARE_DEAD, build, read=one_of(OK, b"SUSPECTED", b"ALIVE")
        )
        return found == OK

    async def _clean(self, partition: int, dead: str) -> None:
        keys = self._keys.node(partition, dead)
        shared = self._keys.partition(partition)
        bury: Call = (
            (
                keys.node,
                shared.nodes,
                shared.described,
                keys.channels,
                keys.present,
                keys.inbox,
                keys.mark,
                shared.traffic,
                keys.sessions,
            ),
            (dead,),
        )
        while True:
            found = await self._runner.run(
                self._writes[partition], BURY, always(bury), read=one_of(OK, b"ALIVE", _BUSY)
            )
            if found != _BUSY:
                return
            await self._forget_some(partition, dead)

    async def _forget_some(self, partition: int, dead: str) -> None:
        keys = self._keys.node(partition, dead)
        writes = self._writes[partition]
        shared = self._keys.partition(partition)
        channels, present, sessions = await all_of(
            writes.execute(pack(b"SRANDMEMBER", keys.channels, _CHANNELS_AT_ONCE), read=texts),
            writes.execute(pack(b"SRANDMEMBER", keys.present, _CHANNELS_AT_ONCE), read=texts),
            writes.execute(pack(b"SRANDMEMBER", keys.sessions, _SESSIONS_AT_ONCE), read=texts),
        )
        names = sorted({*channels, *present})
        touched = [
            key
            for name in names
            for key in (self._keys.channel(name).interest, *self._keys.channel(name).of_presence)
        ]
        forget: Call = (
            (keys.node, keys.channels, keys.present, shared.nodes, shared.departed, *touched),
            (dead, *names),
        )
        await self._runner.run(writes, FORGET, always(forget), read=_OK_OR_ALIVE)
        if sessions:
            records = (self._keys.session(partition, session) for session in sessions)
            orphan: Call = (keys.node, keys.sessions, shared.nodes, *records), (dead, *sessions)
            await self._runner.run(writes, SESSION_ORPHAN, always(orphan), read=_OK_OR_ALIVE)
