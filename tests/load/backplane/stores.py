"""The stores that a backplane is measured on, and what their servers tell about themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from realtime_node.cluster.on_redis.options import RedisOptions
from tests.load import machine, servers
from tests.support.redis_cluster import SlotCluster


@dataclass(frozen=True)
class Store:
    """Running servers: how a node is told of them, and the address of each."""

    options: RedisOptions
    urls: Sequence[str]

    async def clocks(self) -> list[machine.Clock]:
        """Return how long each server has run, and waited for its core."""
        return [machine.clock(info["process_id"]) for info in await self.info("server")]

    async def used_memory(self) -> int:
        """Return the bytes that the servers have allocated."""
        used: int = sum(info["used_memory"] for info in await self.info("memory"))
        return used

    async def spent_in_scripts(self) -> float:
        """Return the seconds that scripts have run."""
        calls = [info.get("cmdstat_evalsha") for info in await self.info("commandstats")]
        microseconds: int = sum(call["usec"] for call in calls if call is not None)
        return microseconds / 1e6

    async def info(self, section: str) -> list[dict[str, Any]]:
        """Return a section of every server's INFO."""
        answers = []
        for url in self.urls:
            async with Redis.from_url(url) as redis:
                answers.append(await redis.info(section))
        return answers


OpenStore = Callable[[Path], AbstractAsyncContextManager[Store]]


@contextlib.asynccontextmanager
async def one_redis(directory: Path) -> AsyncIterator[Store]:
    """Run one Redis on the first core, which it has to itself."""
    async with servers.redis(directory) as port:
        url = f"redis://127.0.0.1:{port}"
        yield Store(RedisOptions(address=url), (url,))


@contextlib.asynccontextmanager
async def three_primaries(directory: Path) -> AsyncIterator[Store]:
    """Run a Redis Cluster of three on the first core: what each of them needs is told apart."""
    del directory
    # Servers that share a core with each other may be slow to answer, and are not dead.
    with SlotCluster(node_timeout_ms=15_000) as cluster:
        for server in cluster.servers:
            os.sched_setaffinity(server.pid, {machine.GENERATOR_CORE})
        urls = [server.url for server in cluster.servers]
        yield Store(RedisOptions(address=urls[0], cluster_nodes=cluster.seeds), urls)
