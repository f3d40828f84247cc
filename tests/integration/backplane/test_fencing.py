"""Dead nodes are cleaned away, and one that was not dead comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY, EntryKind, UnsubscribeUser
from realtime_node.cluster.on_redis.script import UNSUBSCRIBE
from realtime_node.cluster.session_store import KeptGrant, Owner, SessionState
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import (
    Counting,
    fence,
    keys_of,
    parts_of,
    stop_heartbeats,
    wait_until_buried,
)
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from realtime_node.cluster.on_redis.shard import Shard
    from tests.support.redis_server import RedisServer
    from tests.support.stores import Store


async def test_a_node_that_cannot_join_again_may_end_itself(
    cluster: RedisCluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that the others took for dead can still claim it: that may be what is wrong."""
    a = await cluster.node("a")
    monkeypatch.setattr(parts_of(a).membership, "_burn", lambda _fenced: None)
    async with store.client() as redis:
        await fence(cluster, redis, a.backplane.node_id)
    assert await a.backplane.claim_restart(60)


async def _every_write_of(node: Node) -> list[tuple[bytes, ...]]:
    """The script calls that a node makes for each kind of write, as Redis received them."""
    calls: list[bytes] = []

    def recording(execute: Callable[..., asyncio.Future[Any]]) -> Any:
        def record(packed: bytes, deadline: float | None = None, **how: Any) -> asyncio.Future[Any]:
            calls.append(packed)
            return execute(packed, deadline, **how)

        return record

    info = ClientInfo(user="u", client="c")
    with pytest.MonkeyPatch.context() as patch:
        for shard in parts_of(node).shards:
            patch.setattr(shard.writes, "execute", recording(shard.writes.execute))
        await node.publish("news", "late")
        await node.backplane.announce("news", EntryKind.JOIN, info)
        await node.backplane.subscribe("other", HISTORY)
        await node.backplane.remove_history("news")
        await node.presence.add("news", info)
        await node.presence.remove("news", "c")
        new = Owner(node.sessions.new_id("u", ""), "u", "c", 60_000)
        owner = (await node.sessions.claim("", new, SessionState(client="c"))).owner
        await node.sessions.write(owner, SessionState(client="c"))
        await node.sessions.release(owner, None, forget=False)
        await node.sessions.tell_superseded(node.backplane.node_id, owner.session, 1)
        await node.sessions.subscribe("u", "news", KeptGrant(), limit=1)
        await node.sessions.unsubscribe("u", "news", remembered_ms=60_000)
        await node.backplane.control(UnsubscribeUser(user="u", channel="news"))
        node.backplane.release("other")
        await eventually(lambda: any(UNSUBSCRIBE.sha in packed for packed in calls))
    return [_unpacked(packed) for packed in calls]


def _unpacked(packed: bytes) -> tuple[bytes, ...]:
    """The arguments of a packed command; none of them holds a line break here."""
    return tuple(packed.split(b"\r\n")[2::2])


async def _dump(redis: Redis, cluster: RedisCluster) -> dict[bytes, bytes | None]:
    return {
        key: await redis.dump(key) async for key in redis.scan_iter(f"{cluster.options.prefix}:*")
    }


async def test_the_janitor_cleans_up_after_a_dead_node(cluster: RedisCluster, store: Store) -> None:
    """Soon after its lease nothing of a dead node is left but its tombstone."""
    counting = Counting()
    a = await cluster.node("a", instruments=counting)
    b = await cluster.node("b")
    channels = [f"c{number}" for number in range(150)]
    for channel in channels:
        await b.backplane.subscribe(channel, WITHOUT_HISTORY)
        await b.presence.add(channel, ClientInfo(user="u", client="dead"))
    await a.backplane.subscribe("c0", WITHOUT_HISTORY)
    await a.presence.add("c0", ClientInfo(user="u", client="alive"))
    await b.kill()
    dead = b.backplane.node_id
    keys = keys_of(cluster)
    async with store.client() as redis:
        await wait_until_buried(cluster, redis, dead)
        await eventually(lambda: counting.dead == keys.partitions)
        left = [key async for key in redis.scan_iter(f"{cluster.options.prefix}:*{dead}*")]
        assert set(left) == {keys.node(each, dead).node for each in range(keys.partitions)}
        for tombstone in left:
            assert await redis.hget(tombstone, "tombstone") == b"1"
        interest = await redis.hgetall(keys.channel("c0").interest)
        assert set(interest) == {b".version", a.backplane.node_id.encode()}
        assert await redis.exists(*(keys.channel(name).interest for name in channels[1:])) == 0
        assert await redis.exists(*(keys.channel(name).presence for name in channels[1:])) == 0
        for each in range(keys.partitions):
            alive = await redis.zrange(keys.partition(each).nodes, 0, -1)
            assert alive == [a.backplane.node_id.encode()]
    assert list(await a.presence.get("c0")) == ["alive"]


async def test_a_silent_redis_kills_nobody(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """After an outage longer than the lease every node is what it was."""
    nodes = [await own_cluster.node(name) for name in "abc"]
    identities = [node.backplane.node_id for node in nodes]
    # Long enough to be judges of each other.
    await asyncio.sleep(2 * own_cluster.lease_s)
    await asyncio.to_thread(own_server.kill)
    await asyncio.sleep(2 * own_cluster.lease_s)
    await asyncio.to_thread(own_server.start)
    await eventually(lambda: all(node.backplane.is_available() for node in nodes))
    await asyncio.sleep(2 * own_cluster.lease_s)
    assert [node.backplane.node_id for node in nodes] == identities
    assert len(await nodes[0].backplane.nodes()) == 3


async def test_a_fenced_node_joins_again(cluster: RedisCluster, store: Store) -> None:
    """A node that was cleaned away comes back under another id with all it had.

    What it missed comes from the history; only where there is none it is told.
    """
    counting = Counting()
    a, b = await cluster.node("a"), await cluster.node("b", instruments=counting)
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await b.backplane.subscribe("talk", WITHOUT_HISTORY)
    await b.presence.add("news", ClientInfo(user="u", client="c"))
    fenced = b.backplane.node_id
    # As one that was paused past its lease.
    await stop_heartbeats(parts_of(b))
    async with store.client() as redis:
        await wait_until_buried(cluster, redis, fenced)
    await a.publish("news", "missed")
    published = await b.publish("news", "from the fenced node")
    assert published.offset == 2
    assert b.backplane.node_id != fenced
    told = (keys_of(cluster).partition_of("talk"), ["talk"])
    await eventually(lambda: b.receiver.losses == [told])
    await a.publish("news", "to it")
    await a.publish("talk", "to it", WITHOUT_HISTORY)
    assert await b.receiver.has("news", 3) == ["missed", "from the fenced node", "to it"]
    assert await b.receiver.has("talk", 1) == ["to it"]
    assert list(await a.presence.get("news")) == ["c"]
    assert counting.fences == 1


async def test_a_fenced_node_notices_by_its_heartbeat(cluster: RedisCluster, store: Store) -> None:
    """A node that does nothing but listen is told all the same."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    async with store.client() as redis:
        await fence(cluster, redis, b.backplane.node_id)
    told = (keys_of(cluster).partition_of("news"), ["news"])
    await eventually(lambda: b.receiver.losses == [told])
    await a.publish("news", "to it")
    assert await b.receiver.has("news", 1) == ["to it"]


async def test_a_fenced_node_writes_nothing(cluster: RedisCluster, store: Store) -> None:
    """Every late write of a dead identity is refused before it changes anything."""
    b = await cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    await b.publish("news", "before")
    async with store.client() as redis:
        writes = await _every_write_of(b)
        assert len(writes) >= 8
        await stop_heartbeats(parts_of(b))
        await fence(cluster, redis, b.backplane.node_id)
        before = await _dump(redis, cluster)
        for write in writes:
            name = write[0].decode()
            reply = await redis.execute_command(name, *write[1:])  # type: ignore[no-untyped-call]
            assert reply == [b"FENCED"], write
        assert await _dump(redis, cluster) == before


async def test_two_nodes_that_fence_each_other_both_recover(
    cluster: RedisCluster, store: Store
) -> None:
    """Nodes whose tombstones were written at once both come back and hear each other."""
    a, b = await cluster.node("a"), await cluster.node("b")
    for node in (a, b):
        await node.backplane.subscribe("news", HISTORY)
    async with store.client() as redis:
        for node in (a, b):
            await fence(cluster, redis, node.backplane.node_id)
    await eventually(lambda: a.receiver.losses and b.receiver.losses)
    await a.publish("news", "from a")
    await b.publish("news", "from b")
    for node in (a, b):
        assert await node.receiver.has("news", 2) == ["from a", "from b"]


async def test_a_node_that_was_fenced_twice_recovers(cluster: RedisCluster, store: Store) -> None:
    """Fenced again while it registers for its new identity, a node takes yet another one."""
    a, b = await cluster.node("a"), await cluster.node("b")
    channels = [f"c{number}" for number in range(300)]
    for channel in channels:
        await b.backplane.subscribe(channel, WITHOUT_HISTORY)
    async with store.client() as redis:
        for _ in range(2):
            identity = b.backplane.node_id
            await fence(cluster, redis, identity)
            async with asyncio.timeout(NEVER_S):
                while b.backplane.node_id == identity:
                    await asyncio.sleep(0)
    await eventually(lambda: b.receiver.losses)
    for channel in channels:
        await a.publish(channel, "!", WITHOUT_HISTORY)
    for channel in channels:
        assert await b.receiver.has(channel, 1) == ["!"]


async def test_what_the_old_inbox_brought_last_is_not_missed_in_the_new(
    cluster: RedisCluster, store: Store
) -> None:
    """Entries of the old inbox, read while all is registered anew, do not look like a loss."""
    counting = Counting()
    a, b = await cluster.node("a"), await cluster.node("b", instruments=counting)
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await a.publish("news", "first")
    await b.receiver.has("news", 1)
    parts = parts_of(b)
    enter = parts.enter

    async def enter_late(shard: Shard, *, lost: bool) -> None:
        if 0 in shard.partitions:
            await a.publish("news", "before")
            await b.receiver.has("news", 2)
        await enter(shard, lost=lost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "enter", enter_late)
        async with store.client() as redis:
            await redis.hset(keys_of(cluster).node(0, b.backplane.node_id).node, "tombstone", "1")
        await eventually(lambda: sum(counting.repairs), what="all is compared")
    await a.publish("news", "after")
    await eventually(lambda: b.receiver.texts("news")[-1] == "after")
    assert counting.rotations == 0
    assert counting.repairs == [1, 0, 0]
    assert b.receiver.losses == []
