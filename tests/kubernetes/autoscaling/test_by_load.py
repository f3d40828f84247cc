"""The number of nodes follows the load, and clients follow the nodes."""

from __future__ import annotations

import asyncio
import logging
import time

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    BUDGET_PER_S,
    CROWD,
    DECIDED_S,
    FEW,
    PER_S,
    STABILIZATION_S,
    THRESHOLD,
    Watch,
    decided_after_s,
)

logger = logging.getLogger(__name__)


def is_needed(scaled: RealtimeCluster) -> bool:
    """Whether the load itself asks for as many nodes as are wanted."""
    found = scaled.scaling()
    return bool(found["rawDesired"] == found["desired"] and not found["limitedBy"])


# --- more nodes -----------------------------------------------------------------------------------


async def test_nodes_are_added_for_connections(scaled: RealtimeCluster) -> None:
    """A crowd connects: more nodes are decided on at once, and take the clients that come next."""
    few = await asyncio.to_thread(scaled.clients)
    came = time.monotonic()
    async with scaled.traffic(CROWD, PER_S) as traffic:
        assert await decided_after_s(scaled, 4, came) <= DECIDED_S
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        logger.info("4 nodes accepted after %.1f s", time.monotonic() - came)
        await traffic.join(FEW)
        counts = await asyncio.to_thread(scaled.clients)
        await traffic.settle()
    new = counts.keys() - few.keys()
    assert len(new) == 2
    assert min(counts[name] for name in new) > 0
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)


async def test_nodes_are_added_for_deliveries(scaled: RealtimeCluster) -> None:
    """Few clients get a lot: their number asks for no node, what is written to them does."""
    # A loaded machine publishes fewer: even so more nodes are asked for than there may be.
    target = {"targetDeliveriesPerSecond": 80, "maxReplicas": 4}
    await asyncio.to_thread(scaled.change, autoscaling=target)
    async with scaled.traffic(FEW, per_s=1) as traffic:
        began = time.monotonic()
        traffic.per_s = 80  # and each has six subscribers
        assert await decided_after_s(scaled, 4, began) <= DECIDED_S
        assert "deliveries/s" in (await asyncio.to_thread(scaled.scaling))["reason"]
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        await traffic.settle()
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)


async def test_clients_move_to_nodes_that_were_added(scaled: RealtimeCluster) -> None:
    """Nodes that were there shed within the budget until the spread is below the threshold."""

    def is_even() -> bool:
        counts = scaled.clients().values()
        most = sum(counts) / len(counts) * (1 + THRESHOLD / 100)
        is_active = scaled.resource()["status"]["rebalance"]["isActive"]
        return not is_active and max(counts) <= most and scaled.is_settled_at(4)

    await asyncio.to_thread(scaled.change, rebalance={"enabled": True})
    async with scaled.traffic(CROWD, PER_S) as traffic:
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        before = await asyncio.to_thread(scaled.clients)
        began = time.monotonic()
        await until(is_even, within_s=120)
        after = await asyncio.to_thread(scaled.clients)
        logger.info("%s became %s in %.0f s", before, after, time.monotonic() - began)
        await traffic.settle()
    assert (await asyncio.to_thread(scaled.events))["RebalanceStarted"]
    assert sum(after.values()) == CROWD
    assert max(traffic.arrivals_per_s) <= BUDGET_PER_S * 4 * 1.5
    moved = CROWD - traffic.reconnects()[0]
    assert 0 < moved < CROWD * 0.75
    assert traffic.reconnects()[1] > moved * 0.75
    assert max(traffic.reconnects()) <= 3  # who came back to a full node may have to go again
    assert traffic.worst() == (0, 0, 0)


# --- fewer nodes ----------------------------------------------------------------------------------


async def test_the_emptiest_node_goes_when_the_load_has_gone(scaled: RealtimeCluster) -> None:
    """After the window one node is drained, and then another, until the rest is needed."""
    await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 4})
    await until(lambda: scaled.is_settled_at(4), within_s=60)
    watch = Watch(scaled)
    async with scaled.traffic(CROWD, PER_S) as traffic:
        await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
        await until(lambda: is_needed(scaled), within_s=10)
        await traffic.leave(CROWD - FEW)
        left = time.monotonic()
        before = await asyncio.to_thread(scaled.clients)
        assert await decided_after_s(scaled, 3, left) >= STABILIZATION_S - 2
        await until(lambda: len(scaled.pods()) == 3, within_s=60, meanwhile=watch.look)
        (first,) = before.keys() - await asyncio.to_thread(scaled.names)
        await until(lambda: scaled.is_settled_at(2), within_s=60, meanwhile=watch.look)
        logger.info("two nodes had gone after %.0f s", time.monotonic() - left)
        await traffic.settle()
    assert before[first] == min(before.values())
    assert watch.numbers == [3, 2]
    assert watch.most_at_once == 1
    assert traffic.reconnects()[1] >= before[first]
    assert max(traffic.reconnects()) <= 2
    assert traffic.worst() == (0, 0, 0)
