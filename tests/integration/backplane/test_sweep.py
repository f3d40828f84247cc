"""What nothing else would show is found by comparing a few channels a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY
from tests.integration.backplane.helpers import Counting, keys_of, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from tests.support.stores import Store


@pytest.fixture
def counting() -> Counting:
    """What the sweeping node counts."""
    return Counting()


@pytest.fixture
async def pair(cluster: RedisCluster, counting: Counting) -> tuple[Node, Node]:
    """A publisher, and a node that sweeps quickly."""
    quick = msgspec.structs.replace(cluster.options, sweep_interval_s=0.02)
    a = await cluster.node("a")
    return a, await cluster.node("b", options=quick, instruments=counting)


async def _lose_interest(cluster: RedisCluster, store: Store, channel: str) -> None:
    async with store.client() as redis:
        await redis.delete(keys_of(cluster).channel(channel).interest)


async def test_a_lost_interest_is_mended_and_filled(
    cluster: RedisCluster, store: Store, pair: tuple[Node, Node], counting: Counting
) -> None:
    """A node that Redis delivers to no longer gets what it missed, and is delivered to again."""
    a, b = pair
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await a.publish("news", "heard")
    await b.receiver.has("news", 1)
    await _lose_interest(cluster, store, "news")
    await a.publish("news", "missed")
    assert await b.receiver.has("news", 2) == ["heard", "missed"]
    assert counting.mendings["interest"] == 1
    await a.publish("news", "heard again")
    assert await b.receiver.has("news", 3) == ["heard", "missed", "heard again"]
    assert b.receiver.losses == []


async def test_a_lost_interest_without_history_is_mended_and_noted(
    cluster: RedisCluster, store: Store, pair: tuple[Node, Node], counting: Counting
) -> None:
    """Where there is no history the node cannot know what it missed, but it hears again."""
    a, b = pair
    await b.backplane.subscribe("talk", WITHOUT_HISTORY)
    await _lose_interest(cluster, store, "talk")
    await eventually(lambda: counting.mendings["interest"])
    told = (keys_of(cluster).partition_of("talk"), ["talk"])
    await eventually(lambda: b.receiver.losses == [told])
    await a.publish("talk", "heard", WITHOUT_HISTORY)
    assert await b.receiver.has("talk", 1) == ["heard"]


async def test_a_stream_that_began_anew_is_told(
    cluster: RedisCluster, store: Store, pair: tuple[Node, Node], counting: Counting
) -> None:
    """A channel whose meta is gone has another epoch: its subscribers learn it without traffic."""
    a, b = pair
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await a.publish("news", "heard")
    await b.receiver.has("news", 1)
    async with store.client() as redis:
        await redis.delete(keys_of(cluster).channel("news").meta)
    await eventually(lambda: b.receiver.lost_channels == {"news"})
    assert counting.mendings["position"] >= 1


async def test_a_lagging_inbox_is_no_loss(pair: tuple[Node, Node], counting: Counting) -> None:
    """A reader that is behind is suspected and found innocent: nothing is told or read twice."""
    a, b = pair
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    b.receiver.room.clear()
    for number in range(20):
        await a.publish("news", str(number))
    sweep = parts_of(b).sweep
    await eventually(lambda: "news" in sweep._suspects)
    b.receiver.room.set()
    assert await b.receiver.has("news", 20) == [str(number) for number in range(20)]
    await eventually(lambda: "news" not in sweep._suspects)
    assert counting.mendings == {}
    assert b.receiver.losses == []
