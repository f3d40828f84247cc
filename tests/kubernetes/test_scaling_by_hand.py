"""`kubectl scale`, with clients connected."""

from __future__ import annotations

import asyncio

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

CLIENTS = 90


async def test_the_node_with_fewest_clients_goes(tried: RealtimeCluster) -> None:
    """One node less: the one with fewest clients is drained, and only its clients reconnect."""
    told = await asyncio.to_thread(tried.events)
    async with tried.traffic(CLIENTS) as traffic:
        before = await asyncio.to_thread(tried.clients)
        await asyncio.to_thread(tried.scale, len(before) - 1)
        await until(tried.is_settled, within_s=60)
        stayed = await asyncio.to_thread(tried.clients)
        await traffic.settle()
    (gone,) = before.keys() - stayed.keys()
    assert before[gone] == min(before.values())
    assert traffic.reconnects() == {0: CLIENTS - before[gone], 1: before[gone]}
    assert traffic.worst() == (0, 0, 0)
    news = await asyncio.to_thread(tried.events) - told
    assert news.keys() >= {"ScaledDown", "DrainStarted", "DrainCompleted"}
    assert "DrainForced" not in news


async def test_one_more_node_moves_nobody(tried: RealtimeCluster) -> None:
    """One node more takes new clients, and those that are connected stay where they are."""
    async with tried.traffic(clients=30) as traffic:
        before = await asyncio.to_thread(tried.incarnations)
        await asyncio.to_thread(tried.scale, len(before) + 1)
        await until(tried.is_settled, within_s=60)
        await traffic.settle()
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)
    assert await asyncio.to_thread(tried.incarnations) > before
