"""The backplane of one process, where its receiver does what it must not do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.in_memory.backplane import InMemoryBackplane
from realtime_node.cluster.in_memory.cluster import InMemoryCluster
from tests.support.backplanes import HISTORY, Node
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_node.cluster.backplane import Entry


@pytest.mark.parametrize("bug", [ValueError, asyncio.CancelledError])
async def test_a_receiver_that_raises_is_told_of_a_loss_and_goes_on(
    bug: type[BaseException],
) -> None:
    """What it did not take is nowhere else."""
    node = Node("a", InMemoryBackplane(InMemoryCluster()))
    receive = node.receiver.receive

    async def raise_once(entries: Sequence[Entry]) -> None:
        node.receiver.receive = receive  # type: ignore[method-assign]
        raise bug(f"a bug with {len(entries)}")

    node.receiver.receive = raise_once  # type: ignore[method-assign]
    await node.start()
    await node.backplane.subscribe("news", HISTORY)
    await node.publish("news", "lost")
    await eventually(lambda: node.receiver.losses == [(0, None)])
    await node.publish("news", "heard")
    assert await node.receiver.has("news", 1) == ["heard"]
    await node.backplane.close()
