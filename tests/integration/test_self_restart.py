"""A node with a bug in one of its loops: it is not ready, sends its clients elsewhere, and ends."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from realtime_node import engine
from realtime_node.app import Node
from realtime_node.config import Settings
from realtime_node.config.settings import ShutdownSettings
from realtime_node.drain import restarter
from tests.support.conditions import NEVER_S, eventually
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stores import Stores


class Team:
    """Three nodes of a cluster in this process, with bounds that no test has to wait for."""

    def __init__(self, stack: AsyncExitStack, redis_url: str) -> None:
        self._stack = stack
        self._settings = Settings.model_validate(
            {
                "http_server": {"address": "127.0.0.1", "port": 0},
                "engine": {
                    "type": "redis",
                    "redis": {"address": redis_url, "prefix": f"test-{secrets.token_hex(4)}"},
                },
                "client": {"insecure": True},
                "drain": {"propagation": "0s"},
                "shutdown": {"timeout": "4s", "failing_after": "500ms"},
            }
        )
        self.nodes: list[Node] = []
        self.urls: list[str] = []

    async def start(self) -> None:
        """Start the nodes, and wait until each knows that the others are ready."""
        for _ in range(3):
            node = Node(self._settings)
            (url,) = await node.start()
            self._stack.push_async_callback(node.stop)
            self.nodes.append(node)
            self.urls.append(url)
        while not all(info.ready for info in await self.nodes[0]._backplane.nodes()):
            await asyncio.sleep(0.01)

    async def client(self, index: int) -> WireClient:
        """A connected client of a node."""
        url = self.urls[index].replace("http", "ws") + "/connection/websocket"
        client = await self._stack.enter_async_context(await WireClient.open(url))
        await client.call({"id": 1, "connect": {}})
        return client


async def get(url: str) -> tuple[int, str]:
    """Ask a node."""
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status, await response.text()


def break_a_loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop of the sessions' deadlines raise in each round."""

    def fails() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(node._registry, "wake_due", fails)


def decisions(node: Node, reason: str = "") -> float:
    """How often a node decided to stay, for this reason or for any."""
    lines = node._parts.metrics.expose().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith('realtime_self_restart_decisions_total{action="stay"') and reason in line
    )


@pytest.fixture
async def team(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Team]:
    """Three nodes that serve."""
    redis_options = engine.redis_options

    def quick(*given: Any, **more: Any) -> Any:
        options = redis_options(*given, **more)
        return msgspec.structs.replace(options, heartbeat_interval_s=0.1, lease_s=5.0)

    monkeypatch.setattr(engine, "redis_options", quick)
    monkeypatch.setattr(restarter, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(restarter, "ASK_AGAIN_AFTER_S", 0.1)
    async with AsyncExitStack() as stack:
        team = Team(stack, stores.get("redis").url)
        await team.start()
        yield team


async def test_a_node_that_fails_by_its_own_fault_ends_itself(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First it is not ready and says which loop fails, then its clients go, then it is gone."""
    broken, *others = team.nodes
    client = await team.client(0)
    break_a_loop(broken, monkeypatch)
    with monkeypatch.context() as patience:
        stays = ShutdownSettings(failing_after=timedelta())
        patience.setattr(broken._restarter, "_settings", lambda: stays)
        await eventually(lambda: not broken.status().ready)
        status, text = await get(f"{team.urls[0]}/readyz")
        assert status == 503
        assert "deadlines has failed" in text
        assert "ValueError: a bug" in text
        (failing,) = broken.status().failing
        assert (failing.loop, failing.is_own_fault) == ("deadlines", True)
    await asyncio.wait_for(broken.wait_emptied(), NEVER_S)
    assert broken.failure.startswith("deadlines has failed for")
    assert (await client.next())["close"]["code"] == 3001
    await client.close()
    assert broken._door.is_cordoned
    assert [node.failure for node in others] == ["", ""]
    assert [node.status().ready for node in others] == [True, True]
    await broken.stop()
    assert len(await others[0]._backplane.nodes()) == 2
    break_a_loop(others[0], monkeypatch)
    await eventually(lambda: decisions(others[0], "another_restarted"))
    assert others[0].failure == ""


async def test_of_nodes_that_all_fail_one_ends_at_most(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is ready, and each has asked; their clients stay where they are."""
    for node in team.nodes:
        break_a_loop(node, monkeypatch)

    await eventually(lambda: sum(decisions(node) >= 3 for node in team.nodes) >= 2)
    assert sum(bool(node.failure) for node in team.nodes) <= 1
    assert not any(node.status().ready for node in team.nodes)


async def test_a_loop_that_redis_breaks_leaves_the_node_ready(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process of the node would not mend is told, and that is all."""
    node = team.nodes[0]

    def fails() -> None:
        raise FileNotFoundError(2, "No such file or directory", "ca.pem")

    monkeypatch.setattr(node._registry, "wake_due", fails)
    await eventually(lambda: any(loop.failures >= 5 for loop in node.status().failing))
    assert node.status().ready
    assert (await get(f"{team.urls[0]}/readyz"))[0] == 200
    assert "ca.pem" in node.status().failing[0].error
    assert node.failure == ""
