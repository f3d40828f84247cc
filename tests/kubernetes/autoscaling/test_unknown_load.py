"""A node of which nobody knows what it carries never makes a cluster smaller."""

from __future__ import annotations

import asyncio
import time

from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    FEW,
    PER_S,
    STABILIZATION_S,
    STALE_S,
    Watch,
    conditions,
)


async def test_a_node_that_hangs_is_no_reason_for_fewer(scaled: RealtimeCluster, lab: Lab) -> None:
    """While a node says nothing no node goes, and the conditions say why; later one does."""
    await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 3})
    await until(lambda: scaled.is_settled_at(3), within_s=60)
    watch = Watch(scaled)

    def is_told() -> bool:
        told = conditions(scaled, "MetricsAvailable", "ScalingActive", "ScalingLimited")
        return told == [
            ("False", "NodesSilent"),
            ("False", "MetricsUnavailable"),
            ("True", "MetricsUnavailable"),
        ]

    async with scaled.traffic(FEW, PER_S) as traffic:
        hung, *_ = await asyncio.to_thread(scaled.pods)
        await asyncio.to_thread(lab.send, "SIGSTOP", hung)
        try:
            await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
            await until(is_told, within_s=STALE_S + 10, meanwhile=watch.look)
            back_at = time.monotonic() + STABILIZATION_S + STALE_S
            await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
            assert await asyncio.to_thread(is_told)
        finally:
            await asyncio.to_thread(lab.send, "SIGCONT", hung)
        assert watch.numbers == [3]
        assert watch.most_at_once == 0
        await until(lambda: scaled.is_settled_at(2), within_s=60)
        assert conditions(scaled, "MetricsAvailable", "ScalingActive") == [
            ("True", "AllAnswer"),
            ("True", "Internal"),
        ]
        await traffic.settle()
    assert traffic.worst() == (0, 0, 0)
