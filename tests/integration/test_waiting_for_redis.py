"""A node that starts before its Redis does waits, says why, and serves when Redis is there."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.app import Node
from realtime_node.config import Settings
from realtime_node.errors import BackplaneUnavailableError
from tests.support.conditions import NEVER_S, eventually
from tests.support.inner_node import InnerNode
from tests.support.node_process import free_port
from tests.support.redis_server import RedisServer
from tests.support.wire_client import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis that is away."""
    with RedisServer() as server:
        server.kill()
        yield server


def _node(redis: RedisServer, **engine: Any) -> InnerNode:
    port = free_port()
    prefix = f"test-{secrets.token_hex(4)}"
    settings = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "engine": {"type": "redis", "redis": {"address": redis.url, "prefix": prefix, **engine}},
        "client": {"insecure": True},
        "http_api": {"insecure": True},
        "drain": {"propagation": "0s"},
        "shutdown": {"timeout": "2s"},
    }
    return InnerNode(Node(Settings.model_validate(settings)), f"http://127.0.0.1:{port}")


@pytest.fixture
async def waiting(redis: RedisServer) -> AsyncIterator[tuple[InnerNode, asyncio.Task[Any]]]:
    """A node that listens and waits, and its start."""
    node = _node(redis)
    starting = asyncio.create_task(node.node.start())
    await eventually(lambda: "cannot be used" in node.node.status().not_ready_reason)
    yield node, starting
    await node.close()
    starting.cancel()
    await asyncio.wait((starting,), timeout=NEVER_S)
    await node.node.stop()


async def test_a_node_serves_when_its_redis_is_there(
    redis: RedisServer, waiting: tuple[InnerNode, asyncio.Task[Any]]
) -> None:
    """Until then it lives, is not ready and says why, and lets nobody in."""
    node, starting = waiting
    assert (await node.get("/livez"))[0] == 200
    status, reason = await node.get("/readyz")
    assert status == 503
    assert "cannot be used" in reason
    assert node.node.status().backplane_obstacles
    with pytest.raises(Refused, match="503"):
        await node.client()
    await asyncio.to_thread(redis.start)
    await asyncio.wait_for(starting, NEVER_S)
    assert await node.get("/readyz") == (200, "ok\n")
    assert node.node.status().backplane_obstacles == []
    client = await node.client("news")
    assert await node.publish("news", 1)
    assert (await client.next())["push"]["pub"]["data"] == 1
    await client.close()


async def test_a_node_that_waits_can_be_ended(
    waiting: tuple[InnerNode, asyncio.Task[Any]],
) -> None:
    """SIGTERM ends the wait as it ends a node that serves."""
    node, starting = waiting
    node.node.end()
    await asyncio.wait_for(starting, NEVER_S)
    await asyncio.wait_for(node.node.wait_emptied(), NEVER_S)
    assert not node.node.status().ready


async def test_a_node_waits_no_longer_than_its_settings_say(redis: RedisServer) -> None:
    """Then its start fails with what hindered it, and leaves nothing behind."""
    node = _node(redis, start_timeout="200ms")
    with pytest.raises(BackplaneUnavailableError, match=r"not within 0\.2 s: Redis at"):
        await node.node.start()
    assert len(asyncio.all_tasks()) == 1
