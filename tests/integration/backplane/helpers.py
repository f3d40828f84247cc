"""What tests of the Redis backplane look at from outside, and a few counters inside."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.instruments import NoInstruments
from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.parts import Parts

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


def parts_of(node: Node) -> Parts:
    """What the node's backplane is made of; one shard here."""
    assert isinstance(node.backplane, RedisBackplane)
    return node.backplane._parts


async def cut_connections(redis: Redis) -> None:
    """Close every connection but the given client's."""
    await redis.client_kill_filter(_type="normal", skipme=True)


async def wait_until_buried(cluster: RedisCluster, redis: Redis, node_id: str) -> None:
    """Wait until a janitor has taken a node away."""
    async with asyncio.timeout(10):
        while await redis.exists(keys_of(cluster).node(0, node_id).inbox):
            await asyncio.sleep(0.02)
