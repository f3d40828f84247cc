"""A Redis whose configuration hides commands, as guides to securing it advise."""

from __future__ import annotations

import re

import pytest

from realtime_node.errors import ConfigError
from tests.support.backplanes import RedisCluster
from tests.support.redis_server import RedisServer


def _hiding(*commands: str) -> RedisServer:
    """Return a server that has these commands under no name."""
    settings = [word for each in commands for word in ("--rename-command", each, "")]
    return RedisServer(settings=tuple(settings))


async def test_a_node_works_without_info(caplog: pytest.LogCaptureFixture) -> None:
    """It only sees neither version nor eviction nor restarts, and says so."""
    with _hiding("INFO", "CONFIG", "KEYS", "FLUSHALL", "DEBUG") as server:
        cluster = RedisCluster(server.url)
        node = await cluster.node("a")
        assert (await node.publish("news", "hello")).offset == 1
        await cluster.close()
    assert "there is no INFO for our Redis user" in caplog.text


@pytest.mark.parametrize(
    ("hidden", "named"),
    [
        ("MEMORY", r"memory\|usage"),
        ("TIME", "time"),
        ("EVAL", "eval"),
        ("EVALSHA", "evalsha"),
        ("SCRIPT", r"script"),
        ("XADD", "xadd"),
        ("CLIENT", "client"),
    ],
)
async def test_a_hidden_command_is_named_at_start(hidden: str, named: str) -> None:
    """The error says which one, and what probably hides it."""
    with _hiding(hidden) as server:
        cluster = RedisCluster(server.url)
        pattern = rf"does not have what a node needs: [^.]*\b{named}\b.*rename-command"
        with pytest.raises(ConfigError, match=re.compile(pattern, re.DOTALL)):
            await cluster.node("a")
        await cluster.close()
