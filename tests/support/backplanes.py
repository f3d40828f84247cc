"""Clusters of backplanes for tests: several nodes on one store, each with a recording receiver."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Raw

from realtime_node.cluster.backplane import (
    Backplane,
    Entry,
    EntryKind,
    NodeInfo,
    Published,
    StreamOptions,
)
from realtime_node.cluster.in_memory.backplane import InMemoryBackplane
from realtime_node.cluster.in_memory.cluster import InMemoryCluster
from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import Publication, StreamPosition
from tests.support.conditions import NEVER_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realtime_node.cluster.allowance import Allowance, ReconnectBudget
    from realtime_node.cluster.on_redis.instruments import Instruments
    from realtime_node.cluster.presence import PresenceStore
    from realtime_node.cluster.session_store import SessionStore
    from realtime_node.cluster.verdicts import VerdictStore

HISTORY = StreamOptions(history_size=1000, history_ttl_ms=60_000)


class Recorder:
    """A receiver that keeps all it is given."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.losses: list[tuple[int, Sequence[str] | None]] = []
        self.told: dict[str, StreamPosition] = {}
        """Where a test says that a channel stands of which nothing was received."""
        self.room = asyncio.Event()
        self.room.set()

    async def receive(self, entries: Sequence[Entry]) -> None:
        """Keep entries, once there is room."""
        await self.room.wait()
        self.entries.extend(entries)

    def positions(self, channels: Iterable[str]) -> dict[str, StreamPosition]:
        """The last publication that each channel brought."""
        received = {
            entry.channel: StreamPosition(offset=entry.publication.offset, epoch=entry.epoch)
            for entry in self.entries
            if entry.publication is not None and entry.epoch
        }
        known = {**self.told, **received}
        return {channel: known[channel] for channel in channels if channel in known}

    def lost(self, partition: int, channels: Sequence[str] | None) -> None:
        """Keep a loss."""
        self.losses.append((partition, channels))

    @property
    def lost_channels(self) -> set[str]:
        """The channels that were named in a loss."""
        return {name for _, channels in self.losses for name in channels or ()}

    def of(self, channel: str) -> list[Entry]:
        """The entries of a channel."""
        return [entry for entry in self.entries if entry.channel == channel]

    def texts(self, channel: str) -> list[str]:
        """The data of a channel's publications."""
        return [text(entry.publication) for entry in self.of(channel) if entry.publication]

    def controls(self) -> list[Entry]:
        """Control messages."""
        return [entry for entry in self.entries if entry.kind is EntryKind.CONTROL]

    async def has(self, channel: str, count: int) -> list[str]:
        """Wait until a channel has brought `count` publications, and return their data."""
        await eventually(
            lambda: len(self.texts(channel)) >= count, what=f"{count} publications in {channel}"
        )
        return self.texts(channel)


class OwnBackplane(Backplane, Protocol):
    """A backplane as its implementations are: with what belongs to it, and with a way to die."""

    @property
    def presence(self) -> PresenceStore:
        """The store that belongs to it."""

    @property
    def sessions(self) -> SessionStore:
        """Likewise."""

    @property
    def verdicts(self) -> VerdictStore:
        """Likewise."""

    @property
    def reconnects(self) -> ReconnectBudget:
        """The reconnect budget of its cluster."""

    def connects(self, rate_per_s: float) -> Allowance:
        """Meter the arrivals of its cluster."""

    async def abandon(self) -> None:
        """End without telling anybody."""


class Node:
    """A node of a cluster under test."""

    def __init__(
        self, name: str, backplane: OwnBackplane, receiver: Recorder | None = None
    ) -> None:
        self.name = name
        self.backplane = backplane
        self.presence = backplane.presence
        self.sessions = backplane.sessions
        self.verdicts = backplane.verdicts
        self.reconnects = backplane.reconnects
        self.connects = backplane.connects
        self.receiver = receiver or Recorder()

    async def start(self) -> None:
        """Join the cluster."""
        await self.backplane.start(self.receiver, self.describe)

    def describe(self) -> NodeInfo:
        """What the node tells about itself."""
        return NodeInfo(uid=self.name, name=f"node {self.name}", version="1", num_clients=7)

    async def publish(
        self, channel: str, data: str, options: StreamOptions = HISTORY, *, key: str = ""
    ) -> Published:
        """Publish a string."""
        return await self.backplane.publish(
            channel, publication(data), options, idempotency_key=key
        )

    async def kill(self) -> None:
        """Die as a process does that gets SIGKILL."""
        await self.backplane.abandon()


class Cluster(Protocol):
    """Nodes on one store."""

    async def node(self, name: str) -> Node:
        """A started node."""

    async def pass_time(self, seconds: float) -> None:
        """Let so much of the store's time pass."""

    def clock(self) -> float:
        """That time, in seconds."""

    @property
    def lease_s(self) -> float:
        """How long a dead node counts."""

    async def close(self) -> None:
        """Close all nodes."""


class RedisCluster:
    """Nodes on one Redis, under a prefix of their own; with a short lease and linger."""

    lease_s = 0.6

    def __init__(self, url: str, *, partitions: int = 1) -> None:
        self.options = RedisOptions(
            address=url,
            prefix=f"test-{secrets.token_hex(4)}",
            partitions=partitions,
            heartbeat_interval_s=0.1,
            lease_s=self.lease_s,
            suspicion_s=0.5,
            release_linger_s=0.05,
            inbox_trim_interval_s=0.05,
            reconnect_max_delay_s=0.1,
            # A busy machine shall not look like an outage.
            command_timeout_s=NEVER_S / 2,
            sweep_interval_s=60.0,
        )
        self.nodes: list[Node] = []

    async def node(
        self,
        name: str,
        *,
        options: RedisOptions | None = None,
        instruments: Instruments | None = None,
        receiver: Recorder | None = None,
    ) -> Node:
        """A started node; `options` in the place of the cluster's."""
        node = Node(name, RedisBackplane(options or self.options, instruments), receiver)
        await node.start()
        self.nodes.append(node)
        return node

    async def node_at_once(self, name: str, *, options: RedisOptions | None = None) -> Node:
        """A node that is not to wait for Redis.

        Raises:
            BackplaneUnavailableError: what it would wait for, as soon as it knows.
        """
        backplane = RedisBackplane(options or self.options)
        node = Node(name, backplane)
        starting = asyncio.create_task(node.start())
        await eventually(lambda: starting.done() or backplane._waits.cause)
        if not starting.done():
            cause = backplane._waits.cause
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise BackplaneUnavailableError(cause)
        await starting
        self.nodes.append(node)
        return node

    async def pass_time(self, seconds: float) -> None:
        """Wait: Redis' time is nobody's to turn."""
        await asyncio.sleep(seconds)

    def clock(self) -> float:
        """Our own time, which is as fast."""
        return time.monotonic()

    async def close(self) -> None:
        """Close all nodes."""
        await asyncio.gather(*(node.backplane.close() for node in self.nodes))


class MemoryCluster:
    """Nodes of one process, with a clock that the test turns."""

    lease_s = 10.0

    def __init__(self) -> None:
        self.now = 1000.0
        self._cluster = InMemoryCluster(clock=lambda: self.now, lease_s=self.lease_s)
        self._nodes: list[Node] = []

    async def node(self, name: str) -> Node:
        """A started node."""
        node = Node(name, InMemoryBackplane(self._cluster))
        await node.start()
        self._nodes.append(node)
        return node

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock, and let the others see it."""
        self.now += seconds
        await asyncio.sleep(0)

    def clock(self) -> float:
        """What it shows."""
        return self.now

    async def close(self) -> None:
        """Close all nodes."""
        for node in self._nodes:
            await node.backplane.close()


def publication(data: str) -> Publication:
    """A publication of a string that needs no escapes."""
    return Publication(data=Raw(f'"{data}"'.encode()))


def text(published: Publication) -> str:
    """The string that `publication` was made from."""
    return bytes(published.data).decode().strip('"')
