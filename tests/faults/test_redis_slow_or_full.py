"""A Redis that answers late, or takes nothing more, and is then as it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.faults.world import CHANNELS, World, history_of, status_of
from tests.integration.backplane.helpers import client
from tests.support.forwarder import Forwarder
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.figures import Figures

_SLOWER_BY_S: Final = 0.05
_SLOW_FOR_S: Final = 60.0
_FULL_FOR_S: Final = 15.0
"""Longer than a lease."""
_BACKLOG_LIMIT: Final = 500
"""Entries that a node has received and not delivered: a second of all that is published."""


async def test_a_slow_redis_delays_and_loses_nothing(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """Redis answers 50 ms later for a minute: so do publishes, and nothing piles up."""
    backlogs: list[int] = []
    with RedisServer(tcp=True) as redis:
        async with (
            Forwarder([redis.port]) as way,
            World({"address": f"redis://127.0.0.1:{way.port}"}, tmp_path) as world,
        ):

            async def fault() -> None:
                way.delay_s = _SLOWER_BY_S / 2
                await asyncio.sleep(_SLOW_FOR_S)
                statuses = [await status_of(node) for node in world.nodes]
                backlogs.extend(status["delivery_backlog"] for status in statuses)
                way.delay_s = 0.0

            figures = await world.suffer(fault)
    record("Redis 50 ms slow for a minute", figures)
    figures.assert_undisturbed()
    assert figures.refused == figures.unknown == 0
    assert figures.slowest_answer_s > _SLOWER_BY_S
    assert max(backlogs) < _BACKLOG_LIMIT, backlogs


async def test_a_full_redis_refuses_and_keeps_what_it_has(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """At `maxmemory` with `noeviction` publishes are refused, reads are not; then all goes on."""
    histories: list[int] = []
    with RedisServer() as redis:
        async with World({"address": redis.url}, tmp_path) as world:

            async def fault() -> None:
                async with client(redis.url) as admin:
                    await admin.config_set("maxmemory", "1mb")
                    await asyncio.sleep(_FULL_FOR_S)
                    histories.extend([await history_of(n, CHANNELS[0]) for n in world.nodes])
                    await admin.config_set("maxmemory", 0)

            figures = await world.suffer(fault)
    record("Redis at maxmemory with noeviction for 15 s", figures)
    figures.assert_undisturbed()
    assert figures.refused > 0
    assert histories[0] > 0
    assert len(set(histories)) == 1, "nothing is written meanwhile"
    assert figures.unknown == 0
