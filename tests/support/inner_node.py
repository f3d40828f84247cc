"""A whole node in the test's own process, so that a test can break what is inside."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from realtime_node.app import Node
from realtime_node.config import Settings
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class InnerNode:
    """A node that listens on a port of the kernel's choice, and what its users see of it."""

    def __init__(self, node: Node, url: str, stack: AsyncExitStack | None = None) -> None:
        self.node = node
        self.url = url
        self._stack = stack or AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: dict[str, Any]) -> AsyncIterator[Self]:
        """Run a node by settings as a file has them; its HTTP API needs no key."""
        listens = {"http_server": {"address": "127.0.0.1", "port": 0}}
        open_to_all = {"http_api": {"insecure": True}}
        node = Node(Settings.model_validate({**listens, **open_to_all, **settings}))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(node.stop)
            (url,) = await node.start()
            yield cls(node, url, stack)

    async def client(self, *channels: str) -> WireClient:
        """A client that is connected and subscribed; it is closed with the node at the latest."""
        url = self.url.replace("http", "ws", 1) + "/connection/websocket"
        client = await self._stack.enter_async_context(await WireClient.open(url))
        await client.call({"id": 1, "connect": {}})
        for number, channel in enumerate(channels, 2):
            reply = await client.call({"id": number, "subscribe": {"channel": channel}})
            assert "error" not in reply, reply
        return client

    async def close(self) -> None:
        """Close the clients."""
        await self._stack.aclose()

    async def publish(self, channel: str, data: Any) -> bool:
        """Publish through the HTTP API; False if that is refused."""
        async with aiohttp.ClientSession() as http:
            body = {"channel": channel, "data": data}
            async with http.post(f"{self.url}/api/publish", json=body) as response:
                return response.status == 200 and "error" not in await response.json()

    async def get(self, path: str) -> tuple[int, str]:
        """Ask for a path: the status and the text of the answer."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as response:
            return response.status, await response.text()

    def count(self, metric: str, *labels: str) -> float:
        """The sum of a metric's samples whose labels contain all of these."""
        lines = self.node._parts.metrics.expose().decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == f"realtime_{metric}"
            and all(label in line for label in labels)
        )
