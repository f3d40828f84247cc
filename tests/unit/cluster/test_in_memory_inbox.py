"""The inbox of a node in memory outlives a receiver that raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.backplanes import HISTORY, MemoryCluster
from tests.support.conditions import eventually
from tests.support.failure_counts import counted_failures

if TYPE_CHECKING:
    import pytest


async def test_what_a_receiver_did_not_take_is_lost_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is left out in silence, and what is published later comes."""
    cluster = MemoryCluster()

    async def fails(_entries: object) -> None:
        raise ValueError("a bug")

    with counted_failures() as counts:
        node = await cluster.node("a")
        await node.backplane.subscribe("news", HISTORY)
        with monkeypatch.context() as patch:
            patch.setattr(node.receiver, "receive", fails)
            await node.publish("news", "lost")
            await eventually(lambda: counts.restarts["in-memory-inbox"])
        await eventually(lambda: node.receiver.losses)
        await node.publish("news", "later")
        assert await node.receiver.has("news", 1) == ["later"]
    assert node.receiver.losses[0] == (0, None)
    await cluster.close()
