"""The rule that docs/redis.md gives for our user of Redis: all of a node works under it.

The contracts of the backplane and of presence are run here once more, by a user that is allowed
what the document says and nothing else.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from realtime_node.cluster.on_redis.permissions import grants
from realtime_node.errors import BackplaneUnavailableError, ConfigError
from tests.contract.test_backplane import *  # noqa: F403 - the contract, as it is
from tests.contract.test_presence import *  # noqa: F403 - likewise
from tests.integration.backplane.helpers import client
from tests.support.backplanes import RedisCluster
from tests.support.conditions import NEVER_S
from tests.support.node_process import free_port
from tests.support.redis_server import RedisServer
from tests.support.sentinel import NAME, Sentinel
from tests.support.stores import on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis.asyncio import Redis

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "redis.md"
USER, PASSWORD = "realtime", "secret"


def documented_rule(prefix: str, *more: str) -> list[str]:
    """The command of docs/redis.md for another prefix, and with more allowed."""
    found = re.search(r"^ACL SETUSER .*$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    rule = found[0].replace("PASSWORD", PASSWORD).replace("~realtime:*", f"~{prefix}:*")
    assert f"~{prefix}:*" in rule
    return [*rule.split(), *more]


@pytest.fixture(scope="session")
def guarded() -> Iterator[RedisServer]:
    """A Redis whose default user has a password, so that nobody is let in by mistake."""
    with RedisServer(settings=("--requirepass", "admin")) as server:
        yield server


@asynccontextmanager
async def administrator(server: RedisServer) -> AsyncIterator[Redis]:
    """A client that may do everything."""
    async with client(f"unix://:admin@{server.socket}") as redis:
        yield redis


async def _do(redis: Redis, *command: str) -> object:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]


def _login(cluster: RedisCluster, url: str) -> RedisCluster:
    cluster.options = msgspec.structs.replace(
        cluster.options, address=url, user=USER, password=PASSWORD
    )
    return cluster


@pytest.fixture(
    params=[on("redis", 1, id="1 partition"), on("redis in 3 partitions", 3, id="3 partitions")]
)
async def cluster(
    request: pytest.FixtureRequest, guarded: RedisServer
) -> AsyncIterator[RedisCluster]:
    """A cluster whose user is allowed what the document says; nothing may have been refused."""
    cluster = _login(RedisCluster(guarded.url, partitions=request.param), guarded.url)
    async with administrator(guarded) as redis:
        await _do(redis, *documented_rule(cluster.options.prefix))
        await _do(redis, "ACL", "LOG", "RESET")
        yield cluster
        await cluster.close()
        refused = await _do(redis, "ACL", "LOG")
        await _do(redis, "ACL", "DELUSER", USER)
    assert refused == []


def test_the_document_says_what_the_code_needs() -> None:
    """The rule allows the commands that the node asks for, and none besides."""
    allowed = [word for word in documented_rule("p") if word.startswith("+")]
    assert allowed == grants()


@pytest.mark.parametrize("missing", [grant[1:] for grant in grants() if grant != "+info"])
async def test_a_missing_command_is_named_at_start(guarded: RedisServer, missing: str) -> None:
    """Whatever one command the rule lacks, the node does not start, and the error names it."""
    cluster = _login(RedisCluster(guarded.url), guarded.url)
    rule = [word for word in documented_rule(cluster.options.prefix) if word != f"+{missing}"]
    async with administrator(guarded) as redis:
        await _do(redis, *rule)
        with pytest.raises(ConfigError, match=rf"user realtime .*\b{re.escape(missing)}\b"):
            await cluster.node("a")
        await _do(redis, "ACL", "DELUSER", USER)


async def test_missing_keys_are_named_at_start(guarded: RedisServer) -> None:
    """A rule for another prefix is told, with what to add."""
    cluster = _login(RedisCluster(guarded.url), guarded.url)
    needed = re.escape(f"ACL SETUSER realtime ~{cluster.options.prefix}:*")
    async with administrator(guarded) as redis:
        await _do(redis, *documented_rule("other"))
        with pytest.raises(ConfigError, match=needed):
            await cluster.node("a")
        await _do(redis, "ACL", "DELUSER", USER)


async def test_what_another_database_needs_besides(guarded: RedisServer) -> None:
    """A database other than 0 has to be selected."""
    cluster = _login(RedisCluster(guarded.url), f"{guarded.url}?db=3")
    async with administrator(guarded) as redis:
        await _do(redis, *documented_rule(cluster.options.prefix))
        with pytest.raises(ConfigError, match="'select'"):
            await cluster.node("a")
        await _do(redis, *documented_rule(cluster.options.prefix, "+select"))
        node = await cluster.node("a")
        assert (await node.publish("news", "hello")).offset == 1
        await cluster.close()
        await _do(redis, "ACL", "DELUSER", USER)


@pytest.mark.store("sentinel")
async def test_what_sentinel_needs_besides() -> None:
    """With Sentinel ROLE is asked for, and of the Sentinels one command."""
    lines = f"user {USER} on >{PASSWORD} -@all +sentinel|get-master-addr-by-name\n"
    with Sentinel(settings=lines) as sentinel:
        cluster = _login(RedisCluster("redis://127.0.0.1"), "redis://127.0.0.1")
        cluster.options = msgspec.structs.replace(
            cluster.options,
            sentinels=(("127.0.0.1", sentinel.port),),
            sentinel_master=NAME,
            sentinel_user=USER,
            sentinel_password=PASSWORD,
        )
        async with client(sentinel.primary.url) as redis:
            await _do(redis, *documented_rule(cluster.options.prefix))
            with pytest.raises(ConfigError, match="'role'"):
                await cluster.node("a")
            await _do(redis, *documented_rule(cluster.options.prefix, "+role"))
            node = await cluster.node("a")
            assert (await node.publish("news", "hello")).offset == 1
            await cluster.close()
            options = msgspec.structs.replace(cluster.options, sentinel_user="nobody")
            with pytest.raises(BackplaneUnavailableError, match=r"Sentinel 127.*username-password"):
                await cluster.node_at_once("a", options=options)


@pytest.mark.store("redis cluster")
async def test_what_a_redis_cluster_needs_besides() -> None:
    """In a Redis Cluster the nodes are asked who serves what."""
    settings = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with RedisServer(tcp=True, settings=settings) as server:
        cluster = _login(RedisCluster("redis://127.0.0.1", partitions=2), "redis://127.0.0.1")
        nodes = (("127.0.0.1", server.port),)
        cluster.options = msgspec.structs.replace(cluster.options, cluster_nodes=nodes)
        async with client(server.url) as redis:
            await _do(redis, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            async with asyncio.timeout(NEVER_S):
                while "cluster_state:ok" not in str(await _do(redis, "CLUSTER", "INFO")):
                    await asyncio.sleep(0.02)
            await _do(redis, *documented_rule(cluster.options.prefix))
            with pytest.raises(ConfigError, match=r"'cluster\|slots'"):
                await cluster.node("a")
            rule = documented_rule(cluster.options.prefix, "+cluster|slots")
            await _do(redis, *rule)
            node = await cluster.node("a")
            assert (await node.publish("news", "hello")).offset == 1
            await cluster.close()
