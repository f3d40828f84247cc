"""Nodes are replaced, with clients connected to them all the while."""

from __future__ import annotations

import asyncio

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

CLIENTS = 600


async def test_a_client_reconnects_at_most_once(tried: RealtimeCluster) -> None:
    """All nodes are replaced: one reconnect a client, within the budget, and nothing is lost."""
    replicas = fewest = len(await asyncio.to_thread(tried.pods))

    def watch() -> None:
        nonlocal fewest
        fewest = min(fewest, tried.accepting())

    async with tried.traffic(CLIENTS) as traffic:
        await asyncio.to_thread(tried.roll, "2")
        await until(tried.is_settled, within_s=180, meanwhile=watch)
        await traffic.settle()
    assert set(traffic.reconnects()) == {1}
    assert traffic.worst() == (0, 0, 0)
    assert fewest >= replicas - 1
    # A client comes back within a moment of jitter, so a second may get some of the one before.
    assert max(traffic.arrivals_per_s) <= tried.budget_per_s() * replicas * 1.5


async def test_a_broken_image_stops_the_rollout(tried: RealtimeCluster) -> None:
    """New nodes that cannot start change nothing for clients; condition and Event say why."""
    before = await asyncio.to_thread(tried.incarnations)
    image = (await asyncio.to_thread(tried.resource))["spec"]["image"]

    def is_told() -> bool:
        return bool(tried.condition("Progressing")["status"] == "False")

    try:
        async with tried.traffic(clients=50) as traffic:
            await asyncio.to_thread(tried.change, image="localhost/there-is-no-such-image:lab")
            await until(is_told, within_s=120)
            assert await asyncio.to_thread(tried.accepting) == len(before)
            assert (await asyncio.to_thread(tried.events))["ProgressDeadlineExceeded"]
            await asyncio.to_thread(tried.change, image=image)
            await until(tried.is_settled, within_s=60)
            await traffic.settle()
    finally:
        await asyncio.to_thread(tried.change, image=image)
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)
    assert await asyncio.to_thread(tried.incarnations) == before


async def test_a_deleted_node_is_drained_and_replaced(tried: RealtimeCluster) -> None:
    """After `kubectl delete pod` its clients have lost nothing, and a new node is there."""
    async with tried.traffic(clients=90) as traffic:
        victim = (await asyncio.to_thread(tried.pods))[0]["metadata"]
        await asyncio.to_thread(
            tried.cluster.kubectl,
            *("delete", "pod", victim["name"], "--namespace", tried.namespace),
            within_s=90.0,
        )

        def is_replaced() -> bool:
            uids = {pod["metadata"]["uid"] for pod in tried.pods()}
            return victim["uid"] not in uids and tried.is_settled()

        await until(is_replaced, within_s=60)
        await traffic.settle()
    assert max(traffic.reconnects()) == 1
    assert traffic.worst() == (0, 0, 0)
