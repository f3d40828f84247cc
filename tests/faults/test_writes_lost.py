"""Redis forgets what it had acknowledged: all subscribers concerned are told, none is misled."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from tests.faults.world import CLIENTS, World
from tests.integration.backplane.helpers import client
from tests.support.conditions import eventually
from tests.support.node_process import free_port
from tests.support.redis_server import RedisServer
from tests.support.sentinel import NAME, Sentinel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.figures import Figures

_LAG_S: Final = 1.5
_TAIL_BYTES: Final = 256 * 1024
_TOLD_WITHIN_S: Final = 5.0


async def test_a_stale_replica_that_is_promoted_is_told(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """Sentinel promotes a replica that lacks a second of acknowledged publications."""
    with Sentinel() as sentinel:

        async def fault() -> None:
            async with client(sentinel.replica.url) as replica:
                # It looks for its primary where nobody is; Sentinel would mend that in a while.
                await replica.replicaof("127.0.0.1", free_port())
            await asyncio.sleep(_LAG_S)
            await asyncio.to_thread(sentinel.primary.kill)

        redis = {
            "sentinel_address": [f"127.0.0.1:{sentinel.port}"],
            "sentinel_master_name": NAME,
        }
        async with World(redis, tmp_path) as world:
            figures = await world.suffer(fault)
    record("stale replica promoted by Sentinel", figures)
    figures.assert_nothing_lost()
    assert figures.told == CLIENTS, "acknowledged publications of every channel are gone"
    assert figures.resubscribes == CLIENTS, "once each"
    assert figures.reconnects == 0


async def test_a_cut_off_tail_of_the_file_is_told(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """A Redis that restarts without the end of its file has lost acknowledged publications."""
    with RedisServer(aof=True, settings=("--aof-load-truncated", "yes")) as redis:

        async def fault() -> None:
            await asyncio.to_thread(redis.kill)
            (file,) = redis._directory.glob("appendonlydir/*.incr.aof")
            os.truncate(file, file.stat().st_size - _TAIL_BYTES)
            await asyncio.to_thread(redis.start)

        async with World({"address": redis.url}, tmp_path) as world:
            figures = await world.suffer(fault)
    record("tail of the AOF cut off", figures)
    figures.assert_nothing_lost()
    assert figures.told == CLIENTS
    assert figures.resubscribes == CLIENTS
    assert figures.reconnects == 0


async def test_an_emptied_redis_is_told_soon(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """After FLUSHALL every client is told within five seconds, and publications flow."""
    with RedisServer() as redis:
        told_after_s = 0.0

        async with World({"address": redis.url}, tmp_path) as world:

            async def fault() -> None:
                nonlocal told_after_s
                async with client(redis.url) as admin:
                    await admin.flushall()
                told_after_s = await eventually(
                    lambda: all(c.reading.times_told for c in world.clients),
                    within_s=_TOLD_WITHIN_S,
                    what="all are told",
                )

            figures = await world.suffer(fault)
    record(f"FLUSHALL (all told after {told_after_s:.2f} s)", figures)
    figures.assert_nothing_lost()
    assert figures.told == CLIENTS
    assert figures.reconnects == 0
