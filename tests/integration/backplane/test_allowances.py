"""The allowances while Redis is away, forgets, or takes a node for dead."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.allowance import Traffic
from realtime_node.cluster.on_redis.allowances import ANSWER_WITHIN_S
from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.cluster.on_redis.script import LEASE_CONNECTS, LEASE_RECONNECTS
from tests.integration.backplane.helpers import (
    client,
    fence,
    keys_of,
    parts_of,
    stop_heartbeats,
    wait_until_buried,
)
from tests.support.conditions import NEVER_S, eventually

if TYPE_CHECKING:
    from realtime_node.cluster.allowance import Allowance
    from tests.support.backplanes import Node, RedisCluster
    from tests.support.redis_server import RedisServer
    from tests.support.stores import Store


async def _accepting(cluster: RedisCluster, *names: str) -> list[Node]:
    """Nodes that accept clients, and know of each other."""
    nodes = [await cluster.node(name) for name in names]
    for node in nodes:
        node.reconnects.observe(lambda: Traffic(is_accepting=True, accepted_total=0))
    for node in nodes:
        await _knows_of(node, len(nodes))
    return nodes


async def _knows_of(node: Node, count: int) -> None:
    def knows() -> bool:
        known = node.reconnects.known()
        return (known.live, known.accepting) == (count, count)

    await eventually(knows, what=f"{count} nodes accept")


async def _spend(allowance: Allowance, seconds: float) -> int:
    """Lease for some time as a drain does; return how many permits there were."""
    ends, permits = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        lease = await allowance.lease(10_000)
        permits += lease.permits
        await asyncio.sleep(
            lease.permits / lease.rate_per_s if lease.permits else lease.retry_after_s
        )
    return permits


@pytest.mark.measures_time
@pytest.mark.parametrize("kind", ["reconnects", "connects"])
async def test_without_redis_all_nodes_together_keep_the_rate(
    own_server: RedisServer, own_cluster: RedisCluster, kind: str
) -> None:
    """Each uses its share of what it knew last, says so, and is told again when Redis is back."""
    nodes = await _accepting(own_cluster, "a", "b", "c", "d")
    if kind == "reconnects":
        await nodes[0].reconnects.change(20)
        await eventually(lambda: all(node.reconnects.known().per_node == 20 for node in nodes))
        allowances: list[Allowance] = [node.reconnects for node in nodes]
    else:
        allowances = [node.connects(80) for node in nodes]
    for allowance in allowances:
        await allowance.lease(1)
    await asyncio.to_thread(own_server.kill)
    # The first question is waited for, and no other after it.
    assert [(await allowance.lease(1)).is_local for allowance in allowances] == [True] * 4
    spent = await asyncio.gather(*(_spend(allowance, 2.0) for allowance in allowances))
    assert 0.6 * 160 <= sum(spent) <= 160 + 80
    assert max(spent) <= 1.5 * min(spent)
    if kind == "reconnects":
        assert nodes[0].reconnects.known().is_local
    await asyncio.to_thread(own_server.start)
    async with asyncio.timeout(NEVER_S):
        for allowance in allowances:
            while (await allowance.lease(1)).is_local:
                await asyncio.sleep(0.05)
    assert not nodes[0].reconnects.known().is_local


async def test_a_redis_that_hangs_is_waited_for_once(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """While its answer is out nobody waits again, and the connection is not given up for it."""
    (node,) = await _accepting(own_cluster, "a")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        asks = 200
        began = time.monotonic()
        for _ in range(asks):
            assert (await node.reconnects.lease(5)).is_local
        assert time.monotonic() - began <= asks * ANSWER_WITHIN_S / 2
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    async with asyncio.timeout(NEVER_S):
        while (await node.reconnects.lease(1)).is_local:
            await asyncio.sleep(0.05)


async def test_a_changed_budget_survives_a_redis_that_forgot_it(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """The nodes remember, and a node that starts afterwards learns it from Redis."""
    (node,) = await _accepting(own_cluster, "a")
    await node.reconnects.change(33)
    async with client(own_server.url) as redis:
        await redis.flushall()
        key = keys_of(own_cluster).partition(0).budget
        async with asyncio.timeout(NEVER_S):
            while await redis.hget(key, "per_node") != b"33.0":
                await asyncio.sleep(0.05)
    late = await own_cluster.node("late")
    await eventually(lambda: late.reconnects.known().per_node == 33)


async def test_a_fenced_node_leases_nothing(cluster: RedisCluster, store: Store) -> None:
    """Its scripts write nothing, and it has permits again once it joined under another id."""
    a, b = await _accepting(cluster, "a", "b")
    fenced = b.backplane.node_id
    await stop_heartbeats(parts_of(b))
    async with store.client() as redis:
        await fence(cluster, redis, fenced)
        keys = keys_of(cluster)
        shared, own = keys.partition(0), keys.node(0, fenced).node
        call = (own, shared.nodes, shared.traffic, shared.budget, shared.reconnects)
        writes = parts_of(b).writes[0]
        for packed in (
            LEASE_RECONNECTS.pack_with_source(call, (fenced, 5, b"1", 0, "100.0", 10_000)),
            LEASE_CONNECTS.pack_with_source((own, shared.connects), (fenced, 5, "50", 10_000)),
        ):
            assert await writes.execute(packed, read=as_is) == [b"FENCED"]
        assert not await redis.exists(shared.reconnects, shared.connects)
        async with asyncio.timeout(NEVER_S):
            while b.backplane.node_id == fenced:
                await b.reconnects.lease(1)
    assert a.backplane.node_id != b.backplane.node_id


async def test_a_node_whose_lease_of_life_has_ended_gets_nothing(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A process that wakes after a pause has to beat first."""
    (node,) = await _accepting(own_cluster, "a")
    await stop_heartbeats(parts_of(node))
    await asyncio.sleep(own_cluster.lease_s + 0.2)
    lease = await node.reconnects.lease(5)
    assert (lease.permits, lease.is_local) == (0, False)
    assert lease.retry_after_s > 0
    async with client(own_server.url) as redis:
        assert not await redis.exists(keys_of(own_cluster).partition(0).reconnects)


async def test_nothing_of_an_allowance_is_left_behind(cluster: RedisCluster, store: Store) -> None:
    """Permits expire within a minute, and a node's traffic goes with the node."""
    a, b = await _accepting(cluster, "a", "b")
    gone = b.backplane.node_id
    await b.reconnects.lease(5)
    await a.connects(10).lease(5)
    await b.kill()
    async with store.client() as redis:
        await wait_until_buried(cluster, redis, gone)
        shared = keys_of(cluster).partition(0)
        assert await redis.hkeys(shared.traffic) == [a.backplane.node_id.encode()]
        for key in (shared.reconnects, shared.connects):
            assert 0 < await redis.pttl(key) <= 60_000
        await asyncio.sleep(2.1)
        await a.reconnects.lease(5)
        assert f"n:{gone}".encode() not in await redis.hkeys(shared.reconnects)
