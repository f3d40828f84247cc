"""Presence on Redis: one hash per channel, each client owned by the node it is connected to.

What counts is read together with who is alive, so a killed node's clients are gone with its lease
and no client is ever refreshed. The node keeps its own clients in memory too: a new identity, or a
Redis that has forgotten, gets them again from there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from realtime_node.cluster.presence import NO_STAY, Stay
from realtime_node.protocol.messages import ClientInfo

from .all_of import all_of
from .commands import Commands
from .entries import encode_info
from .keys import Keys
from .liveness import Liveness
from .presence_reader import PresenceReader
from .replies import Reply, number, ok_and_flag
from .runner import Call, Runner, always
from .script import PRESENCE_ADD, PRESENCE_REMOVE, PRESENCE_STATS

_ADDITIONS_AT_ONCE: Final = 128
_MAX_COUNTED: Final = 20_000
"""Clients that are read to be counted, after a node has died; of more, those of the dead count too
until they are cleaned away, in some seconds."""


class _Entry(NamedTuple):
    info: ClientInfo
    stay: Stay


class RedisPresence:
    """Implements `PresenceStore`."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        keys: Keys,
        runner: Runner,
        liveness: Sequence[Liveness],
        *,
        reads: Sequence[Commands],
        writes: Sequence[Commands],
        node_id: Callable[[], str],
    ) -> None:
        """`liveness`, `reads` and `writes` are by partition."""
        self._liveness = liveness
        self._keys = keys
        self._runner = runner
        self._reads = reads
        self._writes = writes
        self._node_id = node_id
        self._reader = PresenceReader(keys, runner, liveness, reads)
        self._own: dict[str, dict[str, _Entry]] = {}

    async def add(self, channel: str, info: ClientInfo, stay: Stay = NO_STAY) -> bool:
        """See `PresenceStore.add`."""
        entry = _Entry(info, stay)
        self._own.setdefault(channel, {})[info.client] = entry
        return await self._add(channel, entry)

    async def remove(self, channel: str, client: str, token: int = 0) -> bool:
        """See `PresenceStore.remove`."""
        clients = self._own.get(channel, {})
        if client in clients and clients[client].stay.token <= token:
            del clients[client]
            self._reader.forget(channel, client)
        if not clients:
            self._own.pop(channel, None)
        partition = self._keys.partition_of(channel)
        is_last = int(not clients)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (own.node, own.present, *self._keys.channel(channel).of_presence),
                (node, channel, client, is_last, token),
            )

        return await self._runner.run(
            self._writes[partition], PRESENCE_REMOVE, build, read=ok_and_flag
        )

    async def get(self, channel: str, *, limit: int = 0) -> dict[str, ClientInfo]:
        """See `PresenceStore.get`."""
        present, is_shared = await self._reader.read(channel, limit)
        if not is_shared:
            return present
        # It may be a moment old; of this node's own clients more is known here.
        own = self._own.get(channel, {})
        return {**present, **{client: entry.info for client, entry in own.items()}}

    async def stats(self, channel: str) -> tuple[int, int]:
        """See `PresenceStore.stats`."""
        partition = self._keys.partition_of(channel)
        call: Call = (
            (self._keys.partition(partition).nodes, *self._keys.channel(channel).of_presence),
            (self._liveness[partition].silence_ms(),),
        )
        clients, users, alive = await self._runner.run(
            self._reads[partition], PRESENCE_STATS, always(call), read=_read_stats
        )
        if clients == alive or clients > _MAX_COUNTED:
            return clients, users
        # Some are of nodes that are gone, or may come back: who counts has to be looked at.
        present = await self.get(channel)
        return len(present), len({info.user for info in present.values()})

    async def reestablish(self, partitions: Collection[int]) -> None:
        """Enter all clients of this node again.

        Raises `BackplaneUnavailableError` when Redis does not take them all.
        """
        everyone = (
            (channel, entry)
            for channel, clients in list(self._own.items())
            if self._keys.partition_of(channel) in partitions
            for entry in list(clients.values())
        )
        while chunk := list(itertools.islice(everyone, _ADDITIONS_AT_ONCE)):
            await all_of(*(self._add_if_present(channel, entry) for channel, entry in chunk))

    async def _add_if_present(self, channel: str, entry: _Entry) -> None:
        if self._own.get(channel, {}).get(entry.info.client) is entry:
            await self._add(channel, entry)

    async def _add(self, channel: str, entry: _Entry) -> bool:
        info, stay = entry
        payload, head = encode_info(info), _head(stay)
        partition = self._keys.partition_of(channel)
        nodes, names = self._keys.partition(partition).nodes, self._keys.channel(channel)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            silence_ms = self._liveness[partition].silence_ms()
            return (
                (own.node, own.present, names.presence, nodes, names.presence_counts),
                (node, channel, info.client, payload, head, stay.token, silence_ms),
            )

        return await self._runner.run(
            self._writes[partition], PRESENCE_ADD, build, read=ok_and_flag
        )


def _head(stay: Stay) -> str:
    """What follows the node in an entry; see `presence_add.lua`."""
    if not stay.token:
        return ""
    return f"+{stay.grace_ms}+{stay.token}+{int(stay.announces)}"


def _read_stats(reply: Reply) -> tuple[int, int, int]:
    _, clients, users, alive = reply
    return number(clients), number(users), number(alive)
