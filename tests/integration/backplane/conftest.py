"""Clusters on a real Redis: one that tests share, and one that a test may break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.backplanes import RedisCluster
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """A Redis for the tests that do it no harm."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def cluster(shared_server: RedisServer) -> AsyncIterator[RedisCluster]:
    """A cluster on the shared Redis."""
    cluster = RedisCluster(shared_server.url)
    yield cluster
    await cluster.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A Redis of the test's own that keeps what it acknowledged over a restart."""
    with RedisServer(aof=True) as server:
        yield server


@pytest.fixture
async def own_cluster(own_server: RedisServer) -> AsyncIterator[RedisCluster]:
    """A cluster on a Redis that the test may break."""
    cluster = RedisCluster(own_server.url)
    yield cluster
    await cluster.close()
