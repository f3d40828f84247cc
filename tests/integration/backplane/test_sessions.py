"""Sessions and the presence of their clients, when nodes die or are taken for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_node.cluster.backplane import Entry, EntryKind
from realtime_node.cluster.presence import Stay
from realtime_node.cluster.session_store import Owner, SessionState, Verdict
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import client, fence, keys_of
from tests.support.backplanes import HISTORY
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from realtime_node.cluster.session_store import Claimed
    from tests.support.backplanes import Node, RedisCluster
    from tests.support.redis_server import RedisServer
    from tests.support.stores import Store

STATE = SessionState(client="c1")


async def claim(node: Node, asked: str, connection: str, *, window_ms: int = 60_000) -> Claimed:
    """Have a connection of ann claim a session."""
    new = Owner(node.sessions.new_id("ann", asked), "ann", connection, window_ms)
    return await node.sessions.claim(asked, new, STATE)


async def test_a_fenced_node_gets_its_records_again(store: Store, cluster: RedisCluster) -> None:
    """What is still its own it owns under the new identity; of what is not it is told."""
    a, b = await cluster.node("a"), await cluster.node("b")
    lost: list[Owner] = []
    a.sessions.watch(lost.append)
    kept, taken = await claim(a, "", "kept"), await claim(a, "", "taken")
    over = await claim(b, taken.owner.session, "over")
    before = a.backplane.node_id
    async with store.client() as redis:
        await fence(cluster, redis, before)
    await a.publish("news", "finds out")
    await eventually(lambda: lost)
    assert a.backplane.node_id != before
    assert [owner.connection for owner in lost] == ["taken"]
    assert await b.sessions.is_owner(over.owner)
    again = await claim(b, kept.owner.session, "again")
    assert again.previous_node == a.backplane.node_id


async def test_a_late_write_takes_no_record_from_its_successor(
    store: Store, cluster: RedisCluster
) -> None:
    """What a connection of the node wrote too late changes nothing of what the node knows."""
    a, b = await cluster.node("a"), await cluster.node("b")
    before = a.backplane.node_id
    first = await claim(a, "", "first")
    await claim(a, first.owner.session, "second")
    assert not await a.sessions.write(first.owner, STATE)
    async with store.client() as redis:
        await fence(cluster, redis, before)
    await a.publish("news", "finds out")
    assert a.backplane.node_id != before
    third = await claim(b, first.owner.session, "third")
    assert third.previous_node == a.backplane.node_id


async def test_a_fenced_node_takes_nobody_out_who_moved_on(
    store: Store, cluster: RedisCluster
) -> None:
    """A node that was taken for dead enters its clients again, but not over a later connection."""
    a, b = await cluster.node("a"), await cluster.node("b")
    for each in ("moved", "stayed"):
        await a.presence.add("room", ClientInfo(user="u", client=each), Stay(1, 0))
    await b.presence.add("room", ClientInfo(user="u", client="moved"), Stay(2, 0))
    before = a.backplane.node_id
    async with store.client() as redis:
        await fence(cluster, redis, before)
    await a.publish("news", "finds out")

    async def settled() -> bool:
        return set(await b.presence.get("room")) == {"moved", "stayed"}

    await eventually(lambda: a.backplane.node_id != before)
    for _ in range(500):
        if await settled():
            break
    assert await settled()
    assert not await a.presence.remove("room", "moved", 1)
    assert await a.presence.remove("room", "stayed", 1)
    assert set(await b.presence.get("room")) == {"moved"}


async def test_the_janitor_leaves_records_an_end(store: Store, cluster: RedisCluster) -> None:
    """What a dead node owned expires by itself, and nothing is left of its list."""
    a, b = await cluster.node("a"), await cluster.node("b")
    left, taken = await claim(a, "", "left"), await claim(a, "", "taken")
    over = await claim(b, taken.owner.session, "over")
    dead = a.backplane.node_id
    await a.kill()
    keys = keys_of(cluster)
    partition = keys.partition_of("ann")
    async with store.client() as redis:
        record = keys.session(partition, left.owner.session)
        for _ in range(1000):
            if await redis.pttl(record) > 0:
                break
            await cluster.pass_time(0.02)
        assert 0 < await redis.pttl(record) <= 60_000
        assert await redis.pttl(keys.session(partition, over.owner.session)) == -1
        assert not await redis.exists(keys.node(partition, dead).sessions)
    assert (await claim(b, left.owner.session, "later")).verdict is Verdict.RESUMED


async def test_who_does_not_come_back_from_a_dead_node_leaves(cluster: RedisCluster) -> None:
    """When the grace has ended some node takes the client out and announces its leave, once."""
    a, b, c = [await cluster.node(name) for name in "abc"]
    await c.backplane.subscribe("room", HISTORY)
    for name, announces in (("told", True), ("untold", False), ("back", True)):
        info = ClientInfo(user="u", client=name)
        await a.presence.add("room", info, Stay(1, 2500, announces))
    await a.kill()
    await cluster.pass_time(1.5)
    await b.presence.add("room", ClientInfo(user="u", client="back"), Stay(2, 2500, announces=True))
    assert set(await b.presence.get("room")) == {"told", "untold", "back"}

    def leaves() -> list[Entry]:
        return [each for each in c.receiver.entries if each.kind is EntryKind.LEAVE]

    await eventually(leaves)
    await cluster.pass_time(0.3)
    [leave] = leaves()
    assert leave.info is not None
    assert (leave.channel, leave.info.client) == ("room", "told")
    assert set(await b.presence.get("room")) == {"back"}


async def test_records_survive_a_redis_that_forgets(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A Redis that was emptied gets the records of the living again, as they were."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    first = await claim(a, "", "first")
    async with client(own_server.url) as redis:
        await redis.flushall()
    record = keys_of(own_cluster).session(0, first.owner.session)
    async with client(own_server.url) as redis:
        for _ in range(1000):
            if await redis.exists(record):
                break
            await own_cluster.pass_time(0.02)
    second = await claim(b, first.owner.session, "second")
    assert (second.verdict, second.state) == (Verdict.RESUMED, STATE)
    assert second.owner.token > first.owner.token
