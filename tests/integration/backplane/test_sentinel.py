"""The primary is found through Sentinel, and its successor after a failover."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.errors import BackplaneUnavailableError, ConfigError
from tests.integration.backplane.helpers import Counting, client, keys_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.node_process import free_port
from tests.support.sentinel import NAME, Sentinel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.store("sentinel")


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    """A deployment of the test's own."""
    with Sentinel() as sentinel:
        yield sentinel


def _cluster(*ports: int, name: str = NAME) -> RedisCluster:
    cluster = RedisCluster("redis://127.0.0.1")
    sentinels = tuple(("127.0.0.1", port) for port in ports)
    cluster.options = msgspec.structs.replace(
        cluster.options, sentinels=sentinels, sentinel_master=name
    )
    return cluster


async def _publish_until(node: Node, data: str) -> int:
    async with asyncio.timeout(NEVER_S):
        while True:
            try:
                return (await node.publish("news", data)).offset
            except BackplaneUnavailableError:
                await asyncio.sleep(0.05)


async def test_a_failover_to_a_replica_that_has_all_disturbs_nobody(sentinel: Sentinel) -> None:
    """When the primary is killed, publications go on through its successor, in the same epoch."""
    # The first Sentinel does not answer: the next one is asked.
    cluster = _cluster(free_port(), sentinel.port)
    countings = [Counting(), Counting()]
    a = await cluster.node("a", instruments=countings[0])
    b = await cluster.node("b", instruments=countings[1])
    b.receiver.told["news"] = before = (await b.backplane.subscribe("news", HISTORY)).top
    for number in range(20):
        await a.publish("news", str(number))
    await b.receiver.has("news", 20)
    mark = keys_of(cluster).node(0, a.backplane.node_id).mark
    async with client(sentinel.replica.url) as redis, asyncio.timeout(NEVER_S):
        while int(await redis.hget(mark, "last") or 0) < 20:
            await asyncio.sleep(0.02)
    await asyncio.to_thread(sentinel.primary.kill)
    assert await _publish_until(a, "after") == 21
    await eventually(lambda: b.receiver.texts("news")[-1] == "after")
    assert b.receiver.texts("news") == [*map(str, range(20)), "after"]
    assert b.receiver.losses == []
    assert (await b.backplane.subscribe("news", HISTORY)).top.epoch == before.epoch
    assert [counting.rotations for counting in countings] == [0, 0]
    await cluster.close()


async def test_sentinels_that_do_not_know_the_name_are_told(sentinel: Sentinel) -> None:
    """A wrong name is an error at start that names it."""
    cluster = _cluster(sentinel.port, name="other")
    with pytest.raises(BackplaneUnavailableError, match=r"primary other of Sentinel.*'other'"):
        await cluster.node_at_once("a")


def test_sentinels_without_a_name_are_refused() -> None:
    """Nobody can be asked for a primary without a name."""
    with pytest.raises(ConfigError, match="without the name"):
        RedisOptions(sentinels=(("127.0.0.1", 26379),))
