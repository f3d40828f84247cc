"""What a node demands of Redis before it joins, and how it says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.errors import BackplaneUnavailableError, ConfigError, SchemaMismatchError
from tests.integration.backplane.helpers import client, keys_of
from tests.support.backplanes import Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.support.stores import Store, Stores


async def test_an_unreachable_redis_is_named_without_its_password() -> None:
    """A node that cannot reach Redis says where it looked, and leaves no task behind."""
    cluster = RedisCluster("redis://user:secret@127.0.0.1:1/0")
    options = msgspec.structs.replace(cluster.options, start_timeout_s=0.2)
    within = r"not within 0\.2 s: Redis at 127\.0\.0\.1:1 cannot be used"
    with pytest.raises(BackplaneUnavailableError, match=within) as caught:
        await cluster.node("a", options=options)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(cluster.options)
    assert len(asyncio.all_tasks()) == 1


async def test_a_node_waits_for_a_redis_that_starts_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says why, once, and joins as soon as Redis is there."""
    with RedisServer() as server:
        server.kill()
        cluster = RedisCluster(server.url)
        node = Node("a", RedisBackplane(cluster.options))
        starting = asyncio.create_task(node.start())
        await eventually(lambda: "cannot be used" in "".join(node.backplane.obstacles()))
        await asyncio.sleep(3 * cluster.options.reconnect_max_delay_s)
        assert not starting.done()
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(starting, NEVER_S)
        assert node.backplane.obstacles() == []
        assert (await node.publish("news", "hello")).offset == 1
        await node.backplane.close()
    assert caplog.text.count("this node waits for Redis") == 1


async def test_a_node_that_waits_for_redis_can_be_ended() -> None:
    """A start that is given up leaves no task behind."""
    cluster = RedisCluster("redis://127.0.0.1:1")
    backplane = RedisBackplane(cluster.options)
    starting = asyncio.create_task(Node("a", backplane).start())
    await eventually(lambda: "127.0.0.1:1" in "".join(backplane.obstacles()))
    starting.cancel()
    await asyncio.wait((starting,), timeout=NEVER_S)
    await backplane.close()
    assert starting.cancelled()
    assert len(asyncio.all_tasks()) == 1


async def test_other_partitions_are_a_schema_mismatch(cluster: RedisCluster) -> None:
    """A node with other partitions than the cluster's refuses to start and names both."""
    await cluster.node("a")
    ours = cluster.options.partitions
    options = msgspec.structs.replace(cluster.options, partitions=4)
    with pytest.raises(SchemaMismatchError, match=rf"{ours} partitions.*4 partitions"):
        await cluster.node("b", options=options)


async def test_foreign_keys_are_a_schema_mismatch(cluster: RedisCluster, store: Store) -> None:
    """A schema key that is none of ours is not overwritten."""
    key = keys_of(cluster).partition(0).schema
    async with store.client() as redis:
        await redis.set(key, "something else")
        with pytest.raises(SchemaMismatchError, match="something else"):
            await cluster.node("a")
        assert await redis.get(key) == b"something else"


async def test_eviction_is_refused() -> None:
    """A Redis that may evict keys is refused, with the command that mends it."""
    needed = "CONFIG SET maxmemory-policy noeviction"
    with (
        RedisServer(settings=("--maxmemory-policy", "allkeys-lru")) as server,
        pytest.raises(ConfigError, match=needed),
    ):
        await RedisCluster(server.url).node("a")


async def test_a_forbidden_info_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Where INFO is forbidden, the node starts, and says in a warning what it cannot see."""
    rules = ("on", ">pass", "~*", "&*", "+@all", "-config", "-info")
    settings = ("--user", "app", *rules, "--user", "default", "off")
    with RedisServer(settings=settings) as server:
        cluster = RedisCluster(server.url)
        cluster.options = msgspec.structs.replace(cluster.options, user="app", password="pass")
        node = await cluster.node("a")
        assert (await node.publish("news", "hello")).offset == 1
        await cluster.close()
    assert "maxmemory-policy" in caplog.text


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_wrong_password_is_a_config_error(password: str) -> None:
    """Redis refuses the credentials: the error names the settings, not their values."""
    with RedisServer(settings=("--requirepass", "right")) as server:
        cluster = RedisCluster(server.url)
        cluster.options = msgspec.structs.replace(cluster.options, password=password)
        with pytest.raises(ConfigError, match=r"engine\.redis\.user and password") as caught:
            await cluster.node("a")
        assert "wrong" not in str(caught.value)
        cluster.options = msgspec.structs.replace(cluster.options, password="right")
        await cluster.node("a")
        await cluster.close()


async def test_a_database_number_is_used(stores: Stores) -> None:
    """`db` keeps two installations apart even with one prefix."""
    store = stores.get("redis")
    cluster = store.nodes()
    cluster.options = msgspec.structs.replace(cluster.options, db=3)
    await cluster.node("a")
    async with client(f"{store.url}?db=3") as redis:
        assert await redis.exists(keys_of(cluster).partition(0).schema)
    async with store.client() as redis:
        assert not await redis.exists(keys_of(cluster).partition(0).schema)
    await cluster.close()
