"""Each implementation of the backplane, for the suites that hold them to one contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.backplanes import Cluster, MemoryCluster, RedisCluster
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests; each has a prefix of its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis", "redis, 3 partitions"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """An empty cluster of each implementation."""
    made: Cluster
    if request.param == "memory":
        made = MemoryCluster()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        made = RedisCluster(server.url, partitions=3 if "3" in request.param else 1)
    yield made
    await made.close()
