"""Sessions with the official SDKs, unchanged: a client that lost its node is back on another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import cent
import pytest

from tests.integration.sdk.clients import SdkClient, hears, of_kind
from tests.support.conditions import NEVER_S, eventually
from tests.support.forwarder import Forwarder
from tests.support.node_process import NodeProcess
from tests.support.redis_server import RedisServer
from tests.support.tokens import SECRET, token
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.sdk.conftest import Pair

NewClient = Callable[[], Awaitable[SdkClient]]


@pytest.mark.thorough
async def test_a_client_whose_node_was_killed_goes_on_as_itself(
    pair: Pair, mortal: NodeProcess, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Identity, grants and positions are there at once; the others hear of one join, no leave."""
    room, closed, inbox = f"stay:{name}", f"closed:{name}", f"chat:{name}"
    observer, client = await new_client(), await new_client()
    await observer.connect(pair.a.websocket_url, token(sub="observer"))
    await observer.subscribe(room)
    async with Forwarder([mortal.port, pair.b.port]) as forwarder:
        url = f"ws://127.0.0.1:{forwarder.port}/connection/websocket"
        await client.connect(url, token(sub=name), session="new")
        await client.subscribe(room)
        # Good for the first subscribe alone: it is not asked for again.
        grant = token(sub=name, channel=closed, lifetime_s=2, expire_at=0)
        good_until = time.time() + 3
        await client.subscribe(closed, token=grant)
        await backend.subscribe(cent.SubscribeRequest(user=name, channel=inbox))
        await eventually(lambda: of_kind(client, "subscribed", inbox))
        await _publish(backend, [room, closed, inbox], 1)
        await eventually(lambda: time.time() > good_until)
        seen = asyncio.create_task(_watch_presence(backend, room))

        mortal.kill()
        await _publish(backend, [room, inbox], 2)
        await eventually(lambda: len(of_kind(client, "subscribed", room)) == 2)
        await eventually(lambda: len(of_kind(client, "subscribed", closed)) == 2)
        await _publish(backend, [room, closed, inbox], 3)
        await hears(client, room, [1, 2, 3])
        await hears(client, inbox, [1, 2, 3])
        await hears(client, closed, [1, 3])

        first, second = of_kind(client, "connected")
        assert first["client"] == second["client"]
        assert (first["data"]["resumed"], second["data"]["resumed"]) == (False, True)
        assert first["data"]["session"] == second["data"]["session"]
        again = of_kind(client, "subscribed", inbox)[-1]
        assert (again["wasRecovering"], again["recovered"]) == (True, True)
        counts = await seen
        assert counts == {2}
        assert await client.presence(room) == sorted([name, "observer"])
        # A leave, had there been one, would have come before what is published now.
        await _publish(backend, [room], 4)
        await hears(observer, room, [1, 2, 3, 4])
        others = [each["user"] for each in of_kind(observer, "join", room)]
        assert others.count(name) == 1
        assert of_kind(observer, "leave", room) == []


async def _publish(backend: cent.AsyncClient, channels: list[str], data: int) -> None:
    await backend.broadcast(cent.BroadcastRequest(channels=channels, data=data))


async def _watch_presence(backend: cent.AsyncClient, room: str) -> set[int]:
    """How many were present, asked again and again until the dead node's lease is long over."""
    counts = set()
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        stats = await backend.presence_stats(cent.PresenceStatsRequest(channel=room))
        counts.add(stats.num_clients)
        await asyncio.sleep(0.1)
    return counts


async def test_of_two_connections_one_has_the_session(pair: Pair, name: str) -> None:
    """Of those that ask for one session all but one are closed (3503); a thief gets a new one."""
    async with AsyncExitStack() as stack:

        async def opened(node: NodeProcess) -> WireClient:
            return await stack.enter_async_context(await WireClient.open(node.websocket_url))

        def ask(session: str, user: str = name) -> dict[str, Any]:
            data = {"session": session}
            return {"id": 1, "connect": {"token": token(sub=user), "data": data}}

        first = await opened(pair.a)
        session = (await first.call(ask("new")))["connect"]["data"]["session"]
        rivals = [await opened(node) for node in (pair.a, pair.b) * 3]
        await asyncio.gather(*(rival.send(ask(session)) for rival in rivals))
        everybody = [first, *rivals]
        await eventually(
            lambda: sum(client.closed for client in everybody) == len(rivals),
            what="all but one are closed",
        )
        closes = [
            message["close"]["code"]
            for client in everybody
            for message in client.inbox
            if "close" in message
        ]
        assert closes == [3503] * len(rivals)
        [owner] = [client for client in everybody if not client.closed]
        assert "ping" in await owner.call({"id": 2, "ping": {}})

        thief = await opened(pair.b)
        stolen = (await thief.call(ask(session, "thief")))["connect"]["data"]
        assert stolen["resumed"] is False
        assert stolen["session"] != session
        assert "ping" in await owner.call({"id": 3, "ping": {}})


async def test_without_redis_a_client_is_asked_to_come_again(tmp_path: Path) -> None:
    """A resume while Redis is away fails as temporary within the deadline, and works after it."""
    with RedisServer(aof=True) as redis:
        settings = {
            "engine": {"type": "redis", "redis": {"address": redis.url}},
            "client": {"token": {"hmac_secret_key": SECRET}, "session": {"enabled": True}},
        }
        connect = {"id": 1, "connect": {"token": token(sub="ann"), "data": {"session": "new"}}}
        async with NodeProcess(settings, tmp_path) as node:
            async with await WireClient.open(node.websocket_url) as client:
                first = (await client.call(connect))["connect"]
            session = first["data"]["session"]
            connect["connect"]["data"]["session"] = session  # type: ignore[index]
            redis.kill()
            async with await WireClient.open(node.websocket_url) as client:
                refused = await client.call(connect)
            assert refused["error"] == {
                "code": 100,
                "message": "internal server error",
                "temporary": True,
            }
            redis.start()
            answer = refused
            ends = time.monotonic() + NEVER_S
            while "connect" not in answer and time.monotonic() < ends:
                async with await WireClient.open(node.websocket_url) as client:
                    answer = await client.call(connect)
            assert answer["connect"]["data"] == {"session": session, "resumed": True}
            assert answer["connect"]["client"] == first["client"]
