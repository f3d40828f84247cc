"""Clusters on a real store: one that tests share, of every kind, and one that a test may break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.backplanes import RedisCluster
from tests.support.redis_server import Program, RedisServer
from tests.support.stores import ON_STORES, Store, Stores, on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(params=ON_STORES)
def store(request: pytest.FixtureRequest, stores: Stores) -> Store:
    """Each kind of store, for the tests that do it no harm."""
    return stores.get(request.param)


@pytest.fixture
async def cluster(store: Store) -> AsyncIterator[RedisCluster]:
    """A cluster on a shared store."""
    cluster = store.nodes()
    yield cluster
    await cluster.close()


@pytest.fixture(params=[on("redis", Program.REDIS), on("valkey", Program.EMBEDDED)])
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of the test's own that keeps what it acknowledged over a restart.

    Both programs, since what a broken server does is the program's. How a server is found makes no
    difference to that; what Sentinel and Redis Cluster add when one is away has tests of its own.
    """
    with RedisServer(program=request.param, aof=True) as server:
        yield server


@pytest.fixture
async def own_cluster(own_server: RedisServer) -> AsyncIterator[RedisCluster]:
    """A cluster on a server that the test may break."""
    cluster = RedisCluster(own_server.url)
    yield cluster
    await cluster.close()
