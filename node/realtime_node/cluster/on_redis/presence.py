"""Presence on Redis: one hash per channel, each client owned by the node it is connected to.

What counts is read together with who is alive, so a killed node's clients are gone with its lease
and no client is ever refreshed. The node keeps its own clients in memory too: a new identity, or a
Redis that has forgotten, gets them again from there.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Final, NamedTuple

from realtime_node.cluster.presence import NO_STAY, Stay
from realtime_node.protocol.messages import ClientInfo

from .all_of import all_of
from .commands import Commands
from .entries import UnreadableEntryError, decode_info, encode_info
from .keys import Keys
from .liveness import Liveness
from .replies import Reply, data, datas, number, ok_and_flag, pairs
from .runner import Call, Runner, always
from .script import PRESENCE_ADD, PRESENCE_GET, PRESENCE_REMOVE

_log = logging.getLogger(__name__)

_ADDITIONS_AT_ONCE: Final = 128


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
        if not clients:
            self._own.pop(channel, None)
        partition = self._keys.partition_of(channel)
        is_last = int(not clients)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (own.node, own.present, self._keys.channel(channel).presence),
                (node, channel, client, is_last, token),
            )

        return await self._runner.run(
            self._writes[partition], PRESENCE_REMOVE, build, read=ok_and_flag
        )

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        """See `PresenceStore.get`."""
        partition = self._keys.partition_of(channel)
        call: Call = (
            (self._keys.partition(partition).nodes, self._keys.channel(channel).presence),
            (self._liveness[partition].silence_ms(),),
        )
        reads = self._reads[partition]
        found = await self._runner.run(reads, PRESENCE_GET, always(call), read=_read_found)
        alive, silence_ms, now_ms = found.alive, found.silence_ms, found.now_ms
        present: dict[str, ClientInfo] = {}
        for client, value in found.entries.items():
            owner, _, payload = value.partition(b" ")
            if owner not in alive and not _stays(owner, alive, silence_ms, now_ms):
                continue
            try:
                present[client.decode()] = decode_info(payload)
            except (UnreadableEntryError, ValueError) as error:
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
        nodes = self._keys.partition(partition).nodes

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            silence_ms = self._liveness[partition].silence_ms()
            return (
                (own.node, own.present, self._keys.channel(channel).presence, nodes),
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


def _stays(
    owner: bytes, alive: Container[bytes], silence_ms: Mapping[bytes, int], now: int
) -> bool:
    """Whether a client counts whose entry is not simply one of a live node's; `now` in ms."""
    node, plus, stay = owner.partition(b"+")
    if not plus:
        return False
    span = int(stay.partition(b"+")[0])
    if not node:
        return now < span
    return node in alive or silence_ms.get(node, span) < span


class _Found(NamedTuple):
    """The presence of a channel, and who is alive."""

    alive: frozenset[bytes]
    entries: dict[bytes, bytes]
    silence_ms: dict[bytes, int]
    now_ms: int


def _read_found(reply: Reply) -> _Found:
    _, live, fields, silent, now_ms = reply
    silence_ms = {data(n): number(ms) for n, ms in zip(silent[::2], silent[1::2], strict=True)}
    return _Found(frozenset(datas(live)), pairs(fields), silence_ms, number(now_ms))
