"""What everything hangs on is away for half a minute: the API server, and Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, is_ready, until

CLIENTS: Final = 150
AWAY_S: Final = 30.0


async def test_the_api_server_is_away_during_a_rollout(tried: RealtimeCluster, lab: Lab) -> None:
    """No client notices: the rollout stands still, goes on, and costs one reconnect as always."""
    async with tried.traffic(CLIENTS) as traffic:
        await asyncio.to_thread(tried.roll, "no-api-server")
        await until(lambda: bool(tried.leaving("Draining")), within_s=60)
        back_at = time.monotonic() + AWAY_S  # it takes a while to end, and answers nobody
        with lab.without("apiserver"):
            await asyncio.sleep(back_at - time.monotonic())
        await until(tried.is_settled, within_s=150)
        await traffic.settle()
    assert set(traffic.reconnects()) == {1}
    assert traffic.worst() == (0, 0, 0)


async def test_redis_is_away(tried: RealtimeCluster, lab: Lab) -> None:
    """Nodes stay ready and keep their clients, and afterwards everything arrives."""
    before = await asyncio.to_thread(tried.incarnations)
    redis = await asyncio.to_thread(tried.redis)

    def all_are_ready() -> bool:
        return tried.accepting() == len(before) and all(map(is_ready, tried.pods()))

    async with tried.traffic(CLIENTS) as traffic:
        await asyncio.to_thread(lab.send, "SIGSTOP", redis)
        try:
            back_at = time.monotonic() + AWAY_S
            while time.monotonic() < back_at:
                assert await asyncio.to_thread(all_are_ready)
                await asyncio.sleep(1)
            acknowledged = traffic.ledger.count
        finally:
            await asyncio.to_thread(lab.send, "SIGCONT", redis)
        await until(lambda: traffic.ledger.count > acknowledged + 200, within_s=60)
        await until(tried.is_settled, within_s=30)
        await traffic.settle()
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)
    assert await asyncio.to_thread(tried.incarnations) == before
