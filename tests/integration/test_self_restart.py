"""A node with a bug in one of its loops: it is not ready, sends its clients elsewhere, and ends."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from realtime_node import engine
from realtime_node.config.settings import ShutdownSettings
from realtime_node.drain import restarter
from tests.support.conditions import NEVER_S, eventually
from tests.support.inner_node import InnerNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_node.app import Node
    from tests.support.stores import Stores


def settings(redis_url: str) -> dict[str, Any]:
    """What the nodes go by, with bounds that no test has to wait for."""
    return {
        "engine": {
            "type": "redis",
            "redis": {"address": redis_url, "prefix": f"test-{secrets.token_hex(4)}"},
        },
        "client": {"insecure": True},
        "drain": {"propagation": "0s"},
        "shutdown": {"timeout": "4s", "failing_after": "500ms"},
    }


def break_a_loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop of the sessions' deadlines raise in each round."""

    def fails() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(node._registry, "wake_due", fails)


def decisions(inner: InnerNode, reason: str = "") -> float:
    """How often a node decided to stay, for this reason or for any."""
    return inner.count("self_restart_decisions_total", 'action="stay"', reason)


@pytest.fixture
async def team(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[InnerNode, ...]]:
    """Three nodes of a cluster, each of which knows that the others are ready."""
    redis_options = engine.redis_options

    def quick(*given: Any, **more: Any) -> Any:
        options = redis_options(*given, **more)
        return msgspec.structs.replace(options, heartbeat_interval_s=0.1, lease_s=5.0)

    monkeypatch.setattr(engine, "redis_options", quick)
    monkeypatch.setattr(restarter, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(restarter, "ASK_AGAIN_AFTER_S", 0.1)
    async with AsyncExitStack() as stack:
        given = settings(stores.get("redis").url)
        team = [await stack.enter_async_context(InnerNode.running(given)) for _ in range(3)]
        while not all(info.ready for info in await team[0].node._backplane.nodes()):
            await asyncio.sleep(0.01)
        yield tuple(team)


async def test_a_node_that_fails_by_its_own_fault_ends_itself(
    team: tuple[InnerNode, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First it is not ready and says which loop fails, then its clients go, then it is gone."""
    broken, *others = team[0].node, *(inner.node for inner in team[1:])
    client = await team[0].client()
    break_a_loop(broken, monkeypatch)
    with monkeypatch.context() as patience:
        stays = ShutdownSettings(failing_after=timedelta())
        patience.setattr(broken._restarter, "_settings", lambda: stays)
        await eventually(lambda: not broken.status().ready)
        status, text = await team[0].get("/readyz")
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
    await eventually(lambda: decisions(team[1], "another_restarted"))
    assert others[0].failure == ""


async def test_of_nodes_that_all_fail_one_ends_at_most(
    team: tuple[InnerNode, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is ready, and each has asked; their clients stay where they are."""
    for inner in team:
        break_a_loop(inner.node, monkeypatch)
    await eventually(lambda: sum(decisions(inner) >= 3 for inner in team) >= 2)
    assert sum(bool(inner.node.failure) for inner in team) <= 1
    assert not any(inner.node.status().ready for inner in team)


async def test_a_loop_that_fails_by_no_fault_of_the_node_leaves_it_ready(
    team: tuple[InnerNode, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process of the node would not mend is told, and that is all."""
    node = team[0].node

    def fails() -> None:
        raise FileNotFoundError(2, "No such file or directory", "ca.pem")

    monkeypatch.setattr(node._registry, "wake_due", fails)
    await eventually(lambda: any(loop.failures >= 3 for loop in node.status().failing))
    assert node.status().ready
    assert (await team[0].get("/readyz"))[0] == 200
    assert "ca.pem" in node.status().failing[0].error
    assert node.failure == ""
