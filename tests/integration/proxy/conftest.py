"""A team's backend, one Redis, and nodes that ask the one and share the other."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

from tests.support.node_process import NodeProcess
from tests.support.redis_server import RedisServer
from tests.support.team import TeamServer
from tests.support.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

API_KEY = "proxy-tests"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis for the tests of a module."""
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def team() -> AsyncIterator[TeamServer]:
    """A backend that says yes to everything, and that ann is whoever connects."""
    async with TeamServer() as server:
        server.answers["/connect"] = {"result": {"user": "ann"}}
        yield server


class StartNode(Protocol):
    """Starts nodes of one cluster."""

    async def __call__(
        self, name: str = "node", *, subscribe_ttl: str = "0s", **connect: Any
    ) -> NodeProcess:
        """Take settings of the connect proxy, and how long permissions to subscribe are kept."""


@pytest_asyncio.fixture
async def start_node(
    team: TeamServer, redis: RedisServer, tmp_path: Path
) -> AsyncIterator[StartNode]:
    """Nodes that ask the team about everything; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(
            name: str = "node", *, subscribe_ttl: str = "0s", **connect: Any
        ) -> NodeProcess:
            settings = settings_for(team, **connect)
            settings["channel"]["proxy"]["subscribe"]["cache_ttl"] = subscribe_ttl
            engine = {"type": "redis", "redis": {"address": redis.url, "prefix": tmp_path.name}}
            node = NodeProcess({**settings, "engine": engine}, tmp_path, name=name)
            return await stack.enter_async_context(node)

        yield start


def settings_for(team: TeamServer, **connect: Any) -> dict[str, Any]:
    """Settings that Centrifugo takes as well, as long as `connect` holds none of ours."""
    events = ("subscribe", "publish", "sub_refresh")
    return {
        "http_api": {"key": API_KEY},
        "log": {"level": "warn"},
        "client": {
            "token": {"hmac_secret_key": SECRET},
            "proxy": {
                "connect": {
                    "enabled": True,
                    "endpoint": team.url("/connect"),
                    "http_headers": ["Cookie", "X-Real-Ip"],
                    **connect,
                },
                "refresh": {"enabled": True, "endpoint": team.url("/refresh")},
            },
        },
        "channel": {
            "proxy": {event: {"endpoint": team.url(f"/{event}")} for event in events},
            "namespaces": [
                {
                    "name": "team",
                    "subscribe_proxy_enabled": True,
                    "publish_proxy_enabled": True,
                    "sub_refresh_proxy_enabled": True,
                }
            ],
        },
        "rpc": {
            "proxy": {"endpoint": team.url("/rpc"), "http_headers": ["Cookie"]},
            "without_namespace": {"proxy_enabled": True},
        },
    }
