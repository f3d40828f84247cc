"""Presence on Redis: one hash per channel, each client owned by the node it is connected to.

What counts is read together with who is alive, so a killed node's clients are gone with its lease
and no client is ever refreshed. The node keeps its own clients in memory too: a new identity, or a
Redis that has forgotten, gets them again from there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from realtime_node.protocol.messages import ClientInfo

from .commands import Commands
from .entries import UnreadableEntryError, decode_info, encode_info
from .keys import Keys
from .liveness import Liveness
from .runner import Call, Runner, always
from .script import PRESENCE_ADD, PRESENCE_GET, PRESENCE_REMOVE

_log = logging.getLogger(__name__)

_ADDITIONS_AT_ONCE: Final = 128


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
        self._own: dict[str, dict[str, ClientInfo]] = {}

    async def add(self, channel: str, info: ClientInfo) -> None:
        """See `PresenceStore.add`."""
        self._own.setdefault(channel, {})[info.client] = info
        await self._add(channel, info)

    async def remove(self, channel: str, client: str) -> None:
        """See `PresenceStore.remove`."""
        clients = self._own.get(channel, {})
        clients.pop(client, None)
        if not clients:
            self._own.pop(channel, None)
        partition = self._keys.partition_of(channel)
        is_last = int(not clients)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (own.node, own.present, self._keys.channel(channel).presence),
                (node, channel, client, is_last),
            )

        await self._runner.run(self._writes[partition], PRESENCE_REMOVE, build)

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        """See `PresenceStore.get`."""
        partition = self._keys.partition_of(channel)
        call: Call = (
            (self._keys.partition(partition).nodes, self._keys.channel(channel).presence),
            (self._liveness[partition].silence_ms(),),
        )
        _, live, fields = await self._runner.run(self._reads[partition], PRESENCE_GET, always(call))
        alive = set(live)
        present: dict[str, ClientInfo] = {}
        for client, value in zip(fields[::2], fields[1::2], strict=True):
            owner, _, payload = value.partition(b" ")
            if owner not in alive:
                continue
            try:
                present[client.decode()] = decode_info(payload)
            except UnreadableEntryError as error:
                _log.warning("a client is left out of a channel's presence: %s", error)
        return present

    async def stats(self, channel: str) -> tuple[int, int]:
        """See `PresenceStore.stats`."""
        present = await self.get(channel)
        return len(present), len({info.user for info in present.values()})

    async def reestablish(self, partitions: Collection[int]) -> None:
        """Enter all clients of this node again.

        Raises `BackplaneUnavailableError` when Redis does not take them all.
        """
        everyone = (
            (channel, info)
            for channel, clients in list(self._own.items())
            if self._keys.partition_of(channel) in partitions
            for info in list(clients.values())
        )
        while chunk := list(itertools.islice(everyone, _ADDITIONS_AT_ONCE)):
            await asyncio.gather(*(self._add_if_present(channel, info) for channel, info in chunk))

    async def _add_if_present(self, channel: str, info: ClientInfo) -> None:
        if self._own.get(channel, {}).get(info.client) is info:
            await self._add(channel, info)

    async def _add(self, channel: str, info: ClientInfo) -> None:
        payload = encode_info(info)
        partition = self._keys.partition_of(channel)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (own.node, own.present, self._keys.channel(channel).presence),
                (node, channel, info.client, payload),
            )

        await self._runner.run(self._writes[partition], PRESENCE_ADD, build)
