"""Clients and a backend outside of the Pods, through the Services that the operator makes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from tests.support.kubernetes.installation import CLUSTER, NAMESPACE, Installed
from tests.support.tokens import token
from tests.support.wire_client import WireClient

CLIENTS = 20
CHANNEL = "news"


async def test_everybody_hears_what_a_backend_publishes(installed: Installed) -> None:
    """Clients on all nodes get a publication that one node took, and all nodes have clients."""
    cluster = installed.cluster
    keys = cluster.secret(f"{CLUSTER}-keys", NAMESPACE)
    mine = token(secret=keys["token-hmac-key"], sub="ann", channels=[CHANNEL], lifetime_s=60)
    data = {"text": "hello"}
    async with AsyncExitStack() as held:
        public = held.enter_context(cluster.reach(CLUSTER, NAMESPACE, 8000))
        api = held.enter_context(cluster.reach(f"{CLUSTER}-api", NAMESPACE, 9000))
        backend = await held.enter_async_context(
            aiohttp.ClientSession(f"http://{api}", headers={"X-API-Key": keys["api-key"]})
        )
        clients = [
            await held.enter_async_context(
                await WireClient.open(f"ws://{public}/connection/websocket")
            )
            for _ in range(CLIENTS)
        ]
        for client in clients:
            answer = await client.call({"id": 1, "connect": {"token": mine}})
            assert CHANNEL in answer["connect"]["subs"]
        published = await call(backend, "publish", channel=CHANNEL, data=data)
        assert "error" not in published
        for client in clients:
            assert (await client.next())["push"]["pub"]["data"] == data
        async with asyncio.timeout(30):
            while sum(counts := await clients_of_nodes(backend)) < CLIENTS:  # told with heartbeats
                await asyncio.sleep(0.2)
        if cluster.are_services_reachable:
            assert all(counts)


async def test_a_wrong_token_is_refused(installed: Installed) -> None:
    """A token that another key has signed connects nobody."""
    with installed.cluster.reach(CLUSTER, NAMESPACE, 8000) as public:
        async with await WireClient.open(f"ws://{public}/connection/websocket") as client:
            wrong = token(secret="x" * 32, sub="ann", lifetime_s=60)
            answer = await client.call({"id": 1, "connect": {"token": wrong}})
            assert answer["close"]["code"] == 3500


async def clients_of_nodes(backend: aiohttp.ClientSession) -> list[int]:
    """How many clients each node tells the others that it has."""
    nodes = (await call(backend, "info"))["result"]["nodes"]
    return [node["num_clients"] for node in nodes]


async def call(backend: aiohttp.ClientSession, method: str, **arguments: Any) -> dict[str, Any]:
    """Call a method of the HTTP API."""
    async with backend.post(f"/api/{method}", json=arguments) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer
