"""Every kind of Redis that nodes may meet on, as the suites that run on all of them see it.

A `Store` says how nodes reach it and lets a test look into it; `Stores` starts each kind when the
first test asks for it. Tests share them: each cluster has a prefix of its own.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import pytest
from redis.asyncio import Redis
from redis.asyncio import RedisCluster as ClusterClient
from redis.asyncio.cluster import ClusterNode

from tests.support.backplanes import RedisCluster
from tests.support.redis_cluster import SlotCluster
from tests.support.redis_server import Program, RedisServer
from tests.support.sentinel import NAME, Sentinel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from _pytest.mark import ParameterSet

_CALM_MS: Final = 15_000
"""Nobody harms the shared servers, and a busy machine shall not look like a dead one."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A Redis of some kind that runs."""

    url: str
    """A server that holds the keys; of a Redis Cluster, one that knows the others."""
    partitions: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    """What `RedisOptions` need beside the address."""

    def settings(self, prefix: str) -> dict[str, Any]:
        """`engine.redis` of nodes that are processes of their own."""
        seeds = self.options.get("cluster_nodes", ())
        where: dict[str, Any] = {"address": self.url}
        if seeds:
            where = {"cluster_address": [f"{host}:{port}" for host, port in seeds]}
        return {**where, "prefix": prefix, "partitions": self.partitions}

    def nodes(self) -> RedisCluster:
        """A cluster of nodes on this store, empty so far."""
        cluster = RedisCluster(self.url, partitions=self.partitions)
        cluster.options = msgspec.structs.replace(cluster.options, **self.options)
        return cluster

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A plain client, for looking at keys and for harm."""
        client = self._client()
        try:
            yield client
        finally:
            await client.aclose()

    def _client(self) -> Redis:
        seeds = self.options.get("cluster_nodes", ())
        if not seeds:
            return Redis.from_url(self.url)
        # It answers to the same calls.
        return cast("Redis", ClusterClient(startup_nodes=[ClusterNode(*seed) for seed in seeds]))


class Stores:
    """The kinds, each started once."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._started: dict[str, Store] = {}

    def get(self, kind: str) -> Store:
        """Return one of `STORES`; ends the calling test if the machine lacks its program."""
        if kind not in self._started:
            self._started[kind] = _START[kind](self)
        return self._started[kind]

    def close(self) -> None:
        """End all that were started."""
        self._running.close()

    def _redis(self) -> Store:
        server = self._running.enter_context(RedisServer(program=Program.REDIS))
        return Store(url=server.url)

    def _partitions(self) -> Store:
        return Store(url=self.get("redis").url, partitions=3)

    def _valkey(self) -> Store:
        server = self._running.enter_context(RedisServer(program=Program.EMBEDDED))
        return Store(url=server.url)

    def _sentinel(self) -> Store:
        sentinel = self._running.enter_context(Sentinel(down_after_ms=_CALM_MS))
        known = {"sentinels": (("127.0.0.1", sentinel.port),), "sentinel_master": NAME}
        return Store(url=sentinel.primary.url, options=known)

    def _slot_cluster(self) -> Store:
        cluster = self._running.enter_context(
            SlotCluster(program=Program.REDIS, node_timeout_ms=_CALM_MS)
        )
        seeds = {"cluster_nodes": cluster.seeds}
        return Store(url=cluster.servers[0].url, partitions=6, options=seeds)


_START: Final[dict[str, Callable[[Stores], Store]]] = {
    "redis": Stores._redis,
    "redis in 3 partitions": Stores._partitions,
    "valkey": Stores._valkey,
    "sentinel": Stores._sentinel,
    "redis cluster": Stores._slot_cluster,
}

STORES: Final = tuple(_START)


def on(kind: str, *values: object, id: str | None = None) -> ParameterSet:  # noqa: A002 - pytest's word
    """Return a parameter set of `values`, else of the kind itself, for a test on a kind of Redis.

    A run that leaves the kind out leaves the test out, see `tests.support.selection`.
    """
    return pytest.param(*(values or (kind,)), id=id or kind, marks=pytest.mark.store(kind))


ON_STORES: Final = tuple(on(kind) for kind in STORES)
"""Each kind, as parameters."""
