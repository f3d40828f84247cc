"""A node stands still, as a paused virtual machine or a starved container does, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults import node_with_small_inbox
from tests.faults.world import World, counted_by, status_of
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.faults.figures import Figures
    from tests.support.node_process import NodeProcess

_BEYOND_THE_LEASE_S: Final = 20.0
_WITHIN_THE_LEASE_S: Final = 5.0
"""The lease is ten seconds, and the last heartbeat was up to three before the pause."""


@asynccontextmanager
async def _paused(node: NodeProcess) -> AsyncIterator[None]:
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)


async def test_a_node_that_was_declared_dead_goes_on_with_its_clients(
    tmp_path: Path, record: Callable[[str, Figures], None]
) -> None:
    """Paused past its lease and buried, a node comes back under a new id; its clients stay."""
    with RedisServer() as redis:
        async with World({"address": redis.url}, tmp_path) as world:
            node = world.nodes[0]
            before = await status_of(node)

            async def fault() -> None:
                async with _paused(node):
                    await asyncio.sleep(_BEYOND_THE_LEASE_S)

            figures = await world.suffer(fault)
            after = await status_of(node)
    record("node SIGSTOPped for 20 s, beyond its lease", figures)
    assert after["node_id"] != before["node_id"], "the janitor was to declare it dead"
    assert after["boot_id"] == before["boot_id"]
    figures.assert_undisturbed()


@pytest.mark.parametrize("bounds", [{"inbox_limit": 1000}, {"inbox_bytes": 80_000}], ids=str)
async def test_what_was_trimmed_below_a_stalled_reader_comes_from_the_history(
    bounds: dict[str, int],
    tmp_path: Path,
    record: Callable[[str, Figures], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pause within the lease overflows a node's inbox, by count or bytes; no client notices."""
    monkeypatch.setenv(node_with_small_inbox.BOUNDS, json.dumps(bounds))
    command = (sys.executable, str(Path(node_with_small_inbox.__file__)), "serve", "--config")
    with RedisServer() as redis:
        async with World({"address": redis.url}, tmp_path, command=command) as world:
            node = world.nodes[0]
            before = await status_of(node)

            async def fault() -> None:
                async with _paused(node):
                    await asyncio.sleep(_WITHIN_THE_LEASE_S)

            figures = await world.suffer(fault)
            after = await status_of(node)
            holes = await counted_by(node, "realtime_inbox_gaps_total")
    (bound,) = bounds
    record(f"inbox trimmed below a stalled reader ({bound})", figures)
    assert after["node_id"] == before["node_id"], "it was to come back within its lease"
    assert holes, "the inbox was to overflow"
    figures.assert_undisturbed()
