"""A hub on a Redis backplane: clients of a repaired channel see one stream and notice nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.shard import by_partition
from realtime_node.delivery.hub import Hub
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.telemetry.metrics import Metrics
from tests.integration.backplane.helpers import Counting, stop_heartbeats, wait_until_buried
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import eventually
from tests.support.fakes import FakeSlowClients, framer_of, plain_flow
from tests.unit.delivery.listeners import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_node.cluster.on_redis.inbox import InboxReader
    from realtime_node.cluster.on_redis.options import RedisOptions
    from tests.support.stores import Store

_CLIENTS = 20


class _Audience:
    """A node with a hub, and clients that listen to one channel."""

    def __init__(self, options: RedisOptions) -> None:
        self.counting = Counting()
        self.backplane = RedisBackplane(options, self.counting)
        self.metrics = Metrics().delivery
        self.hub = Hub(
            JsonCodec(),
            self.metrics,
            FakeSlowClients(),
            framer=framer_of(),
            flow_of=plain_flow,
            on_deserted=self.backplane.release,
            on_control=lambda _: None,
        )
        self.listeners: list[Listener] = []

    @property
    def inbox(self) -> InboxReader:
        """What reads the channel's partition."""
        parts = self.backplane._parts
        partition = parts.keys.partition_of("news")
        return by_partition(parts.shards, parts.inboxes)[partition]

    async def start(self, describer: Node) -> None:
        """Join the cluster and subscribe all clients."""
        await self.backplane.start(self.hub, describer.describe)
        for _ in range(_CLIENTS):
            listener = Listener(self.hub, "news", follows_stream=True)
            listener.join((await self.backplane.subscribe("news", HISTORY)).top)
            self.listeners.append(listener)

    async def have_seen(self, count: int) -> None:
        """Wait until every client has publications 1 to `count`, once and in order."""
        wanted = list(range(1, count + 1))
        await eventually(
            lambda: all(listener.offsets == wanted for listener in self.listeners),
            what=f"1 to {count} at each client",
        )
        assert self.counting.repairs[1:] == [0, 0]
        assert [listener.losses for listener in self.listeners] == [0] * _CLIENTS


@pytest.fixture
async def audience(cluster: RedisCluster) -> AsyncIterator[_Audience]:
    """An audience whose inbox is short."""
    audience = _Audience(
        msgspec.structs.replace(cluster.options, inbox_limit=100, inbox_read_count=10)
    )
    yield audience
    await audience.backplane.close()


@pytest.mark.parametrize("bound", [{"inbox_limit": 100}, {"inbox_bytes": 20_000}], ids=str)
async def test_an_inbox_trimmed_below_a_stalled_reader(
    cluster: RedisCluster, audience: _Audience, bound: dict[str, int]
) -> None:
    """Entries pushed out by count or by bytes come from the history; no client is disturbed."""
    a = await cluster.node("a", options=msgspec.structs.replace(cluster.options, **bound))
    await audience.start(a)
    await a.publish("news", "first")
    await audience.have_seen(1)
    inbox = audience.inbox
    async with inbox._handing:
        await asyncio.gather(*(a.publish("news", "x" * 100) for _ in range(800)))
    await a.publish("news", "last")
    await audience.have_seen(802)
    # A repair is counted after what it filled in was handed over.
    await eventually(lambda: audience.counting.repairs[0] >= 1, what="the repair is counted")


async def test_a_node_that_was_declared_dead(
    cluster: RedisCluster, store: Store, audience: _Audience
) -> None:
    """A paused node that others cleaned away comes back, and its clients missed nothing."""
    a = await cluster.node("a")
    await audience.start(a)
    await a.publish("news", "before")
    await audience.have_seen(1)
    identity = audience.backplane.node_id
    await stop_heartbeats(audience.backplane._parts)
    async with store.client() as redis:
        await wait_until_buried(cluster, redis, identity)
        for _ in range(300):
            await a.publish("news", "missed")
    # As its next heartbeat would, had it not been stopped.
    await audience.backplane.subscribe("news", HISTORY)
    await a.publish("news", "after")
    await audience.have_seen(302)
    await eventually(lambda: audience.counting.repairs == [1, 0, 0], what="one repair is counted")
