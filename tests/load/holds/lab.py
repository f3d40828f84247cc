"""A node in this process, over a Redis, as `realtime-node serve` runs it, and callers of its API.

The loop that is watched is the node's own. Redis, and the clients that have sockets, run in other
processes on the first core; calls of the HTTP API wait in a thread, which does nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from realtime_node.app import Node
from realtime_node.config import SettingsSource
from realtime_node.server.tokens import make_connection_token
from tests.load import generators, servers
from tests.load.holds.watch import Hold, watched
from tests.load.tools import Tools
from tests.support.node_process import free_port

SECRET: Final = "a-secret-long-enough-for-hs256-tokens"
GC_THRESHOLDS: Final = (50_000, 20, 50)

_DEADLINE_S: Final = 300.0
_CONNECTS_PER_S: Final = 1_000

CHANNELS: Final[dict[str, Any]] = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
}
"""What clients may do in the channels of every namespace here."""


@dataclass
class RunningNode:
    """A node that serves, and where its settings are."""

    node: Node
    port: int
    settings: dict[str, Any]
    path: Path

    async def call(self, method: str, **request: Any) -> bytes:
        """Call a method of the HTTP API; return the body of its answer."""
        return await self.post(f"/api/{method}", msgspec.json.encode(request))

    async def post(self, path: str, body: bytes) -> bytes:
        """Post a body that is made already."""
        return await asyncio.to_thread(self._request, "POST", path, body)

    async def get(self, path: str) -> bytes:
        """Return what is at a path."""
        return await asyncio.to_thread(self._request, "GET", path, None)

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_DEADLINE_S)
        try:
            headers = {"X-API-Key": servers.API_KEY}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status == http.client.OK, content
        return content

    async def reload(self, **changes: Any) -> None:
        """Change the file of the settings, and return when the node goes by them."""
        loaded_at = self.node.status().settings.loaded_at
        self.settings |= changes
        self.path.write_text(json.dumps(self.settings))
        self.node.reload()
        await until(lambda: self.node._reloader.status.loaded_at != loaded_at)
        assert self.node.status().settings.reload_error is None

    @contextlib.asynccontextmanager
    async def sockets(
        self, tools: Tools, count: int, channel: str, user: str = ""
    ) -> AsyncIterator[None]:
        """Hold clients of another process in a channel."""
        async with generators.clients(
            tools,
            [self.port],
            count,
            seconds=_DEADLINE_S,
            connects_per_s=_CONNECTS_PER_S,
            channel=channel,
            token=token(user),
        ) as load:
            yield
            await load.expect(0)  # or it would not let them go yet


def token(user: str, **claims: Any) -> str:
    """Return a connection token of a user."""
    return make_connection_token(SECRET, user, **claims)


async def until(condition: Callable[[], bool]) -> None:
    """Return when a condition holds; looks a hundred times a second."""
    async with asyncio.timeout(_DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def hold_of(operation: Awaitable[Any], *conditions: Callable[[], bool]) -> Hold:
    """Return the longest hold from the start of an operation until it is done and they hold."""
    gc.collect()
    with watched() as hold:
        await operation
        for condition in conditions:
            await until(condition)
    return hold


@dataclass(frozen=True)
class Lab:
    """Starts nodes."""

    directory: Path
    tools: Tools
    redis_port: int
    part: float
    """Of every size: less than 1 to see that it works."""
    deadline_s: float = _DEADLINE_S
    """For an operation to be done."""

    def size(self, full: int) -> int:
        """Return how many to take."""
        return max(1, round(full * self.part))

    @contextlib.asynccontextmanager
    async def node(self, **settings: Any) -> AsyncIterator[RunningNode]:
        """Run a node on an empty part of the store, with settings beside those that all have."""
        port = free_port()
        given = {
            "engine": {
                "type": "redis",
                "redis": {
                    "address": f"redis://127.0.0.1:{self.redis_port}",
                    "prefix": f"holds-{port}",
                },
            },
            "http_server": {"address": "127.0.0.1", "port": port},
            "http_api": {"key": servers.API_KEY},
            "channel": {"without_namespace": CHANNELS},
            "admission": {"connects_per_second": 100_000, "burst": 100_000, "shed_loop_lag": "0"},
            "drain": {"propagation": "0s"},
            "shutdown": {"timeout": "60s"},
            "log": {"level": "error"},
            **settings,
        }
        given["client"] = {
            "token": {"hmac_secret_key": SECRET},
            "allow_anonymous_connect_without_token": True,
            "ping_interval": "3600s",
            "pong_timeout": "3000s",
            "stale_close_delay": "3600s",
            **settings.get("client", {}),
        }
        path = self.directory / f"{port}.json"
        path.write_text(json.dumps(given))
        source = SettingsSource(path, os.environ)
        node = Node(source.load(), source=source)
        await node.start()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            yield RunningNode(node, port, given, path)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(90):
                    await node.stop()
