"""Redis, or the way to it, is away for a while and comes back with everything it had."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from realtime_node.cluster.on_redis.script import PUBLISH, pack_parts
from tests.faults.world import World
from tests.integration.backplane.helpers import client, cut_connections
from tests.support.conditions import eventually
from tests.support.redis_server import RedisServer
from tests.support.reply_cutter import ReplyCutter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.figures import Figures

_CALL: Final = pack_parts(b"EVALSHA", PUBLISH.sha)
"""A publish; a new connection asks whether its script is known, and is not to be cut over that."""
_ANSWER_WITHIN_S = 4.5
"""The deadline of three seconds, on a machine that does all this at once."""


@pytest.mark.parametrize("away_s", [5, 30])
async def test_a_killed_redis_that_comes_back_with_its_file_disturbs_nobody(
    away_s: float, tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """Publishes meanwhile are refused within their deadline; no client notices anything else."""
    with RedisServer(aof=True) as redis:

        async def fault() -> None:
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(away_s)
            await asyncio.to_thread(redis.start)

        async with World({"address": redis.url}, tmp_path) as world:
            figures = await world.suffer(fault)
    record(f"Redis SIGKILLed, restarted after {away_s} s (AOF)", figures)
    figures.assert_undisturbed()
    assert figures.refused > 0
    assert figures.unknown == 0
    assert figures.slowest_answer_s < _ANSWER_WITHIN_S


async def test_cut_connections_disturb_nobody(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """All connections to Redis are cut ten times, and no client notices."""
    with RedisServer() as redis:

        async def fault() -> None:
            async with client(redis.url) as admin:
                for _ in range(10):
                    await cut_connections(admin)
                    await asyncio.sleep(0.5)

        async with World({"address": redis.url}, tmp_path) as world:
            figures = await world.suffer(fault)
    record("all Redis connections cut ten times", figures)
    figures.assert_undisturbed()
    assert figures.slowest_answer_s < _ANSWER_WITHIN_S


@pytest.mark.parametrize("batch_size", [1, 25], ids=["one by one", "batches"])
@pytest.mark.parametrize("forward", [True, False], ids=["after", "before"])
async def test_pipelines_cut_around_their_execution_double_and_reorder_nothing(
    forward: bool, batch_size: int, tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """Pipelines are executed and their replies lost, or they are lost: each is there once."""
    with RedisServer() as redis:
        async with (
            ReplyCutter(redis.socket) as cutter,
            World({"address": cutter.url}, tmp_path, batch_size=batch_size) as world,
        ):

            async def fault() -> None:
                for _ in range(5):
                    await _cut_once(cutter, forward=forward)
                    await asyncio.sleep(0.5)

            figures = await world.suffer(fault)
    what = "replies cut after" if forward else "requests cut before"
    how = "" if batch_size == 1 else f" (batches of {batch_size})"
    record(f"{what} execution, five times{how}", figures)
    figures.assert_undisturbed()
    assert figures.refused == figures.unknown == 0


async def _cut_once(cutter: ReplyCutter, *, forward: bool) -> None:
    before = cutter.cuts
    cutter.arm(_CALL, forward=forward)
    await eventually(lambda: cutter.cuts > before, what="the next pipeline of publishes is cut")
