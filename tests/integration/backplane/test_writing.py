"""What publishing and interest leave in Redis: marks, routes, scripts, sequences."""

from __future__ import annotations

import asyncio

import msgspec

from realtime_node.cluster.backplane import WITHOUT_HISTORY
from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.cluster.on_redis.script import UNSUBSCRIBE
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import (
    Counting,
    keys_of,
    own_keys,
    parts_of,
)
from tests.support.backplanes import HISTORY, RedisCluster
from tests.support.stores import Store


async def test_the_mark_follows_the_last_publish(cluster: RedisCluster, store: Store) -> None:
    """The mark's last sequence is that of the last executed publish, and its result is kept."""
    a = await cluster.node("a")
    await asyncio.gather(*(a.publish("news", str(number)) for number in range(300)))
    last = await a.publish("news", "last")
    async with store.client() as redis:
        mark = await redis.hgetall(own_keys(cluster, a, "news").mark)
    sequence = int(mark[b"last"])
    assert sequence >= 301
    assert mark[b"%d" % (sequence % 256)] == b"%d %d %s " % (
        sequence,
        last.offset,
        last.epoch.encode(),
    )
    assert len(mark) <= 257


async def test_what_was_read_is_trimmed(cluster: RedisCluster, store: Store) -> None:
    """A reader keeps its inbox short, without a hole in what it reads."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await b.backplane.subscribe("news", WITHOUT_HISTORY)
    inbox = own_keys(cluster, b, "news").inbox
    total = 0
    async with store.client() as redis:
        for _ in range(20):
            await asyncio.gather(
                *(a.publish("news", "x" * 500, WITHOUT_HISTORY) for _ in range(100))
            )
            total += 100
            await b.receiver.has("news", total)
            await asyncio.sleep(0.01)
        assert await redis.xlen(inbox) < 1000
        assert await redis.xlen(inbox) >= 1
    assert b.receiver.losses == []


async def test_a_late_removal_does_not_undo_a_later_subscribe(cluster: RedisCluster) -> None:
    """A removal that was sent earlier and is executed later is rejected by its sequence."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    keys = keys_of(cluster)
    own = own_keys(cluster, b, "news")
    late = UNSUBSCRIBE.pack(
        (own.node, own.channels, keys.channel("news").interest),
        (b.backplane.node_id, 0, "news"),
    )
    reply = await parts_of(b).writes[keys.partition_of("news")].execute(late, read=as_is)
    assert reply == [b"OK", 0]
    await a.publish("news", "still heard")
    assert await b.receiver.has("news", 1) == ["still heard"]


async def test_a_stale_route_delivers_to_whoever_is_interested_now(
    cluster: RedisCluster,
) -> None:
    """A publisher that remembers an older interest, even of a deleted key, misses nobody."""
    counting = Counting()
    a = await cluster.node("a", instruments=counting)
    b, c = await cluster.node("b"), await cluster.node("c")
    await a.publish("news", "0")
    await b.backplane.subscribe("news", HISTORY)
    await a.publish("news", "1")
    await b.backplane.close()
    await c.backplane.subscribe("news", HISTORY)
    await a.publish("news", "2")
    await a.publish("news", "3")
    assert await b.receiver.has("news", 1) == ["1"]
    assert await c.receiver.has("news", 2) == ["2", "3"]
    assert counting.stale == 2


async def test_forgotten_routes_are_learned_again(cluster: RedisCluster) -> None:
    """With more channels than routes, publishing stays right."""
    options = msgspec.structs.replace(cluster.options, route_cache_size=2)
    a = await cluster.node("a", options=options)
    b = await cluster.node("b")
    channels = [f"c{number}" for number in range(5)]
    for channel in channels:
        await b.backplane.subscribe(channel, HISTORY)
    for number in range(3):
        for channel in channels:
            await a.publish(channel, str(number))
    for channel in channels:
        assert await b.receiver.has(channel, 3) == ["0", "1", "2"]


async def test_forgotten_scripts_are_loaded_again(cluster: RedisCluster, store: Store) -> None:
    """After SCRIPT FLUSH every operation works and concurrent publishes keep growing marks."""
    a, b = await cluster.node("a"), await cluster.node("b")
    async with store.client() as redis:
        await redis.script_flush()
        await b.backplane.subscribe("news", HISTORY)
        await redis.script_flush()
        await asyncio.gather(*(a.publish("news", str(number)) for number in range(50)))
        await redis.script_flush()
        assert len((await a.backplane.history("news", HISTORY, limit=-1)).publications) == 50
        await redis.script_flush()
        await a.presence.add("news", ClientInfo(user="u", client="c"))
        await redis.script_flush()
        assert len(await b.backplane.nodes()) == 2
        await redis.script_flush()
        await b.backplane.close()
        mark = await redis.hgetall(own_keys(cluster, a, "news").mark)
    sequences = [int(value.split()[0]) for slot, value in mark.items() if slot != b"last"]
    assert max(sequences) == int(mark[b"last"])
    assert len(set(await b.receiver.has("news", 50))) == 50


async def test_an_entry_of_an_unknown_release_costs_its_channel_the_position(
    cluster: RedisCluster, store: Store
) -> None:
    """An unreadable entry is reported as lost in its place, and reading goes on."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    inbox = own_keys(cluster, b, "news").inbox
    async with store.client() as redis:
        await redis.xadd(inbox, {b"p7 e some channel": b"\x7fpayload"}, id="1-*")
    await a.publish("news", "after")
    assert await b.receiver.has("news", 1) == ["after"]
    assert b.receiver.losses == [(keys_of(cluster).partition_of("news"), ["some channel"])]


async def test_an_inbox_is_bounded_in_bytes(cluster: RedisCluster, store: Store) -> None:
    """Large entries make a stalled reader's inbox shorter than its count allows; small ones too."""
    bound = 2_000_000
    options = msgspec.structs.replace(cluster.options, inbox_bytes=bound)
    a = await cluster.node("a", options=options)
    b = await cluster.node("b", options=options)
    await b.backplane.subscribe("news", HISTORY)
    await a.publish("news", "first")
    await b.receiver.has("news", 1)
    b.receiver.room.clear()
    inbox = own_keys(cluster, b, "news").inbox
    sizes = [100] * 3000 + [100_000] * 60 + [3000] * 1500 + [1_500_000] * 3
    largest = 0
    async with store.client() as redis:
        for number in range(0, len(sizes), 100):
            await asyncio.gather(
                *(
                    a.publish("news", "x" * size, WITHOUT_HISTORY)
                    for size in sizes[number : number + 100]
                )
            )
            largest = max(largest, await redis.memory_usage(inbox, samples=0) or 0)
        assert await redis.xlen(inbox) < 5
    assert largest < bound + 100 * 3000 + 100_000
    b.receiver.room.set()
