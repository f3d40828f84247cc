"""Nodes on a Redis Cluster of three primaries, whose slots move and whose data goes away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.options import RedisOptions
from tests.faults.world import World
from tests.support.conditions import eventually
from tests.support.redis_cluster import PRIMARIES, SlotCluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.figures import Figures

_PARTITIONS: Final = 6
_KEYS: Final = Keys(RedisOptions().prefix, _PARTITIONS)
_STEP_S: Final = 0.1
"""A slot with more keys would be on the move for longer: half of them here, half there."""
_TOLD_WITHIN_S: Final = 5.0


def _settings(redis: SlotCluster) -> dict[str, Any]:
    seeds = [f"{host}:{port}" for host, port in redis.seeds]
    return {"cluster_address": seeds, "partitions": _PARTITIONS}


async def test_slots_that_move_lose_nothing(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """The slot of every partition moves to another primary while it is in use."""
    with SlotCluster() as redis:
        slots = [_KEYS.slot_of(partition) for partition in range(_PARTITIONS)]
        before = [redis.primary_of(slot) for slot in slots]

        def move_all() -> None:
            for slot, primary in zip(slots, before, strict=True):
                for _ in redis.move(slot, (primary + 1) % PRIMARIES):
                    time.sleep(_STEP_S)

        async with World(_settings(redis), tmp_path) as world:
            figures = await world.suffer(lambda: asyncio.to_thread(move_all))
        after = [redis.primary_of(slot) for slot in slots]
    record("every partition's slot moved to another primary (Redis Cluster)", figures)
    assert after == [(primary + 1) % PRIMARIES for primary in before]
    figures.assert_undisturbed()
    assert figures.unknown == 0


async def test_a_primary_that_was_emptied_is_told(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """The clients of its partitions are told within five seconds, and nobody else is."""
    with SlotCluster() as redis:
        async with World(_settings(redis), tmp_path) as world:
            emptied = redis.primary_of(_KEYS.slot_of(0))
            concerned = [
                client
                for client in world.clients
                if redis.primary_of(_KEYS.slot_of(_KEYS.partition_of(client.reading.channel)))
                == emptied
            ]
            told_after_s = 0.0

            async def fault() -> None:
                nonlocal told_after_s
                await asyncio.to_thread(redis.empty, emptied)
                told_after_s = await eventually(
                    lambda: all(client.reading.times_told for client in concerned),
                    within_s=_TOLD_WITHIN_S,
                    what="all whose partition is gone are told",
                )

            figures = await world.suffer(fault)
    record(f"one primary of a Redis Cluster emptied (told after {told_after_s:.2f} s)", figures)
    figures.assert_nothing_lost()
    assert figures.told == len(concerned) < len(world.clients)
    assert figures.reconnects == 0
