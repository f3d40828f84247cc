"""A Redis that lost what it acknowledged: noticed once, told to all, and used again at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY
from realtime_node.errors import BackplaneUnavailableError, UnrecoverablePositionError
from tests.integration.backplane.helpers import Counting, client, cut_connections, keys_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.forwarder import Forwarder
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from realtime_node.cluster.backplane import Published

_CHANNELS = [f"c{number}" for number in range(5)]


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    """The Redis that everybody writes to at first."""
    with RedisServer(tcp=True) as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer) -> Iterator[RedisServer]:
    """Its replica."""
    with RedisServer(tcp=True, settings=("--replicaof", "127.0.0.1", str(primary.port))) as server:
        yield server


@pytest.fixture
async def failover(primary: RedisServer) -> AsyncIterator[Forwarder]:
    """The address of whichever is the primary."""
    async with Forwarder([primary.port]) as forwarder:
        yield forwarder


async def _promote(failover: Forwarder, replica: RedisServer) -> None:
    failover.ports[:] = [replica.port]
    failover.cut()


async def _in_sync(replica: RedisServer, key: bytes, value: bytes) -> None:
    async with client(replica.url) as redis, asyncio.timeout(NEVER_S):
        while await redis.hget(key, "last") != value:
            await asyncio.sleep(0.01)


@pytest.fixture
async def nodes(
    failover: Forwarder, replica: RedisServer
) -> AsyncIterator[tuple[RedisCluster, list[Node], list[Counting]]]:
    """Three nodes, all interested in all channels."""
    del replica
    cluster = RedisCluster(f"redis://127.0.0.1:{failover.port}")
    countings = [Counting() for _ in "abc"]
    nodes = [
        await cluster.node(name, instruments=counting)
        for name, counting in zip("abc", countings, strict=True)
    ]
    for node in nodes:
        for channel in _CHANNELS:
            node.receiver.told[channel] = (await node.backplane.subscribe(channel, HISTORY)).top
    yield cluster, nodes, countings
    await cluster.close()


async def test_a_promoted_replica_that_has_all_disturbs_nobody(
    nodes: tuple[RedisCluster, list[Node], list[Counting]],
    failover: Forwarder,
    replica: RedisServer,
) -> None:
    """A failover without a loss goes unnoticed: same epochs, nobody told, nothing missing."""
    cluster, (a, b, c), countings = nodes
    before = [await a.publish(channel, "before") for channel in _CHANNELS]
    mark = keys_of(cluster).node(0, a.backplane.node_id).mark
    await _in_sync(replica, mark, b"10")
    async with client(replica.url) as redis:
        await redis.replicaof("NO", "ONE")
    await _promote(failover, replica)
    for channel, published in zip(_CHANNELS, before, strict=True):
        after = await _publish_until_acknowledged(b, channel, "after")
        assert (after.offset, after.epoch) == (2, published.epoch)
    for node in (a, b, c):
        for channel in _CHANNELS:
            assert await node.receiver.has(channel, 2) == ["before", "after"]
        assert node.receiver.losses == []
    assert sum(counting.rotations for counting in countings) == 0


async def test_a_stale_replica_is_noticed_once_and_told_to_all(
    nodes: tuple[RedisCluster, list[Node], list[Counting]],
    failover: Forwarder,
    replica: RedisServer,
) -> None:
    """Acknowledged writes that a promoted replica never had change every epoch exactly once."""
    cluster, (a, b, c), countings = nodes
    before = await a.publish(_CHANNELS[0], "before")
    mark = keys_of(cluster).node(0, a.backplane.node_id).mark
    await _in_sync(replica, mark, b"2")
    generation = keys_of(cluster).partition(0).generation
    async with client(replica.url) as redis:
        # From here on it lags for ever.
        await redis.replicaof("NO", "ONE")
        old_generation = await redis.get(generation)
    for _ in range(20):
        await a.publish(_CHANNELS[0], "lost")
    await b.receiver.has(_CHANNELS[0], 21)
    position = b.receiver.positions(_CHANNELS)[_CHANNELS[0]]
    assert position.offset == before.offset + 20
    await _promote(failover, replica)
    await eventually(
        lambda: all(node.receiver.lost_channels == set(_CHANNELS) for node in (a, b, c))
    )
    assert sum(counting.rotations for counting in countings) == 1
    async with client(replica.url) as redis:
        assert await redis.get(generation) != old_generation
    after = await _publish_until_acknowledged(c, _CHANNELS[0], "after")
    assert after.epoch != before.epoch
    for node in (a, b, c):
        await node.receiver.has(_CHANNELS[0], 22)
        assert node.receiver.texts(_CHANNELS[0])[-1] == "after"
        # No recovery is served across the loss, though the offset exists again.
        with pytest.raises(UnrecoverablePositionError):
            await node.backplane.history(_CHANNELS[0], HISTORY, limit=-1, since=position)


async def test_a_lost_publish_is_noticed_by_its_publisher_alone(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A mark that ends too early is a loss, though nobody's inbox shows it."""
    counting = Counting()
    a = await own_cluster.node("a", instruments=counting)
    b = await own_cluster.node("b")
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await a.publish("talk", "x", WITHOUT_HISTORY)
    async with client(own_server.url) as redis:
        await redis.hset(keys_of(own_cluster).node(0, a.backplane.node_id).mark, "last", "0")
        await cut_connections(redis)
    await eventually(lambda: counting.rotations == 1)
    # The other node hears of it with its heartbeat.
    await eventually(lambda: b.receiver.lost_channels == {"news"})


async def test_a_node_that_redis_never_heard_of_is_a_loss(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A registration that is gone without a tombstone was lost, and what it wrote with it."""
    counting = Counting()
    a = await own_cluster.node("a", instruments=counting)
    b = await own_cluster.node("b")
    before = (await b.backplane.subscribe("news", HISTORY)).top
    identity = a.backplane.node_id
    async with client(own_server.url) as redis:
        await redis.delete(keys_of(own_cluster).node(0, identity).node)
    await eventually(lambda: a.backplane.node_id != identity)
    await eventually(lambda: b.receiver.lost_channels == {"news"})
    assert counting.rotations == 1
    after = (await b.backplane.subscribe("news", HISTORY)).top
    assert after.epoch != before.epoch


async def test_partitions_lose_apart(own_server: RedisServer) -> None:
    """A loss in one partition changes no epoch of another, and tells nobody there."""
    cluster = RedisCluster(own_server.url, partitions=3)
    keys = keys_of(cluster)
    a, b = await cluster.node("a"), await cluster.node("b")
    by_partition = {keys.partition_of(channel): channel for channel in _CHANNELS}
    assert len(by_partition) == 3
    for channel in by_partition.values():
        b.receiver.told[channel] = (await b.backplane.subscribe(channel, HISTORY)).top
        await a.publish(channel, "before")
    async with client(own_server.url) as redis:
        await redis.hset(keys.node(1, a.backplane.node_id).mark, "last", "0")
        await cut_connections(redis)
    await eventually(lambda: b.receiver.losses)
    assert b.receiver.lost_channels == {by_partition[1]}
    await cluster.close()


async def _publish_until_acknowledged(node: Node, channel: str, data: str) -> Published:
    async with asyncio.timeout(NEVER_S):
        while True:
            try:
                return await node.publish(channel, data)
            except BackplaneUnavailableError:
                await asyncio.sleep(0.01)
