"""What tests of the Redis backplane look at from outside, and a few counters inside."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.instruments import NoInstruments
from realtime_node.cluster.on_redis.keys import Keys, NodeKeys
from realtime_node.cluster.on_redis.parts import Parts
from tests.support.conditions import NEVER_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.backplanes import Node, RedisCluster


class Counting(NoInstruments):
    """Counts what happens rarely."""

    def __init__(self) -> None:
        self.stale = 0
        self.dead = 0
        self.fences = 0
        self.outcomes: Counter[str] = Counter()
        self.rotations = 0
        self.repairs = [0, 0, 0]
        self.mendings: Counter[str] = Counter()

    def stale_interest(self) -> None:
        """Count."""
        self.stale += 1

    def buried(self, nodes: int) -> None:
        """Count."""
        self.dead += nodes

    def resolved(self, outcome: str) -> None:
        """Count."""
        self.outcomes[outcome] += 1

    def rotated(self, partition: int) -> None:
        """Count."""
        del partition
        self.rotations += 1

    def repaired(self, whole: int, told: int, unknown: int) -> None:
        """Count."""
        self.repairs = [
            before + now for before, now in zip(self.repairs, (whole, told, unknown), strict=True)
        ]

    def mended(self, what: str) -> None:
        """Count."""
        self.mendings[what] += 1

    def fenced(self) -> None:
        """Count."""
        self.fences += 1


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    """A plain client, for looking at keys and for harm."""
    redis = Redis.from_url(url)
    try:
        yield redis
    finally:
        await redis.aclose()


def keys_of(cluster: RedisCluster) -> Keys:
    """The names of a cluster's keys."""
    return Keys(cluster.options.prefix, cluster.options.partitions)


def own_keys(cluster: RedisCluster, node: Node, channel: str) -> NodeKeys:
    """The names of a node's own keys, in the partition of a channel."""
    keys = keys_of(cluster)
    return keys.node(keys.partition_of(channel), node.backplane.node_id)


def beside(cluster: RedisCluster, channel: str, name: str) -> str:
    """Return `name`, or one like it, that is in the partition of a channel."""
    keys = keys_of(cluster)
    names = itertools.chain((name,), (f"{name}{number}" for number in itertools.count()))
    return next(each for each in names if keys.partition_of(each) == keys.partition_of(channel))


def parts_of(node: Node) -> Parts:
    """What the node's backplane is made of."""
    assert isinstance(node.backplane, RedisBackplane)
    return node.backplane._parts


async def cut_connections(redis: Redis) -> None:
    """Close every connection but the given client's."""
    await redis.client_kill_filter(_type="normal", skipme=True)


async def stop_heartbeats(parts: Parts) -> None:
    """Make a node fall silent as one that is paused."""
    for heartbeat in parts.heartbeats:
        await heartbeat.close()


async def fence(cluster: RedisCluster, redis: Redis, node_id: str) -> None:
    """Declare a node dead, in every partition."""
    keys = keys_of(cluster)
    for partition in range(keys.partitions):
        await redis.hset(keys.node(partition, node_id).node, "tombstone", "1")


async def wait_until_buried(cluster: RedisCluster, redis: Redis, node_id: str) -> None:
    """Wait until janitors have taken a node away."""
    keys = keys_of(cluster)
    async with asyncio.timeout(NEVER_S):
        for partition in range(keys.partitions):
            while await redis.exists(keys.node(partition, node_id).inbox):
                await asyncio.sleep(0.02)
