"""Settings that running nodes take over."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.traffic import FEED
from tests.support.tokens import token
from tests.support.wire_client import WireClient

ADDED: dict[str, Any] = {"name": "added", "allow_subscribe_for_client": True}


def namespaces(*named: dict[str, Any]) -> dict[str, Any]:
    """Settings with these namespaces."""
    return {"channel": {"namespaces": list(named)}}


async def answers(tried: RealtimeCluster) -> list[dict[str, Any]]:
    """What each node answers to who subscribes to a channel of the new namespace."""
    secret = tried.cluster.secret(f"{tried.name}-keys", tried.namespace)["token-hmac-key"]
    found = []
    for pod in await asyncio.to_thread(tried.pods):
        url = f"ws://{pod['status']['podIP']}:8000/connection/websocket"
        async with await WireClient.open(url) as client:
            await client.call({"id": 1, "connect": {"token": token(secret=secret, sub="ann")}})
            found.append(await client.call({"id": 2, "subscribe": {"channel": "added:1"}}))
    return found


async def test_a_namespace_comes_without_a_restart(tried: RealtimeCluster) -> None:
    """All nodes know a namespace that was added to the spec; no client and no process notices."""
    before = await asyncio.to_thread(tried.incarnations)
    boots = await asyncio.to_thread(tried.boots)
    assert all("error" in answer for answer in await answers(tried))
    try:
        async with tried.traffic(clients=30) as traffic:
            await asyncio.to_thread(tried.change, node=namespaces(FEED, ADDED))
            async with asyncio.timeout(120):
                while not all("subscribe" in answer for answer in await answers(tried)):
                    await asyncio.sleep(0.5)
            await until(tried.is_settled, within_s=30)
            await traffic.settle()
        assert set(traffic.reconnects()) == {0}
        assert traffic.worst() == (0, 0, 0)
        assert await asyncio.to_thread(tried.incarnations) == before
        assert await asyncio.to_thread(tried.boots) == boots
    finally:
        await asyncio.to_thread(tried.change, node=namespaces(FEED))
