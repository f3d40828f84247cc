"""A cluster under load, the fault that it suffers, and what its subscribers then have.

Three nodes in processes of their own, 200 clients that recover, spread over nodes and over 20
channels with history, and 500 publications a second through every node that answers. `suffer` lets
the load run for a while, lets the fault happen, goes on until every client has got a publication
from after it, and holds each client's reading against the ledger.

A world does not know what its nodes keep their state in: it is handed the settings of
`engine.redis`, and a fault is a coroutine of the test, which holds the servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from tests.faults.figures import Figures
from tests.support.conditions import eventually
from tests.support.node_process import NODE, NodeProcess
from tests.support.publishing_load import PublishingLoad
from tests.support.recovering_client import RecoveringClient
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

CHANNELS: Final = [f"load:{n}" for n in range(20)]
CLIENTS: Final = 200
NODES: Final = 3
PUBLICATIONS_PER_S: Final = 500

_API_KEY: Final = "faults"
_CALM_S: Final = 3.0
_AFTERWARDS_S: Final = 1.0
_BACK_WITHIN_S: Final = 30.0
_OPEN_FILES: Final = 8192
"""Thousands of calls are out while a Redis is away; the nodes inherit it."""

_SETTINGS: Final[dict[str, Any]] = {
    "http_api": {"key": _API_KEY},
    "client": {"token": {"hmac_secret_key": SECRET}},
    "log": {"level": "warn"},
    "channel": {
        "namespaces": [
            {
                "name": "load",
                "history_size": 2000,
                "history_ttl": "300s",
                "force_recovery": True,
                "allow_subscribe_for_client": True,
            }
        ]
    },
}


class World:
    """Nodes, clients and a publisher; an asynchronous context manager that ends them all."""

    def __init__(
        self,
        redis: Mapping[str, Any],
        directory: Path,
        *,
        command: Sequence[str] = (NODE, "serve", "--config"),
        batch_size: int = 1,
    ) -> None:
        """Prepare nodes with these settings of `engine.redis`; their logs go into `directory`.

        `batch_size`: how many publications go into a channel with one call.
        """
        settings = {**_SETTINGS, "engine": {"type": "redis", "redis": dict(redis)}}
        self.nodes = [
            NodeProcess(settings, directory, name=f"node-{n}", command=command)
            for n in range(NODES)
        ]
        self.clients: list[RecoveringClient] = []
        self.load = PublishingLoad(
            self.nodes,
            CHANNELS,
            api_key=_API_KEY,
            per_s=PUBLICATIONS_PER_S,
            batch_size=batch_size,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the nodes and subscribe the clients."""
        _allow_open_files()
        try:
            for node in self.nodes:
                await self._stack.enter_async_context(node)
            for n in range(CLIENTS):
                turn = n % NODES
                urls = [node.websocket_url for node in (*self.nodes[turn:], *self.nodes[:turn])]
                client = RecoveringClient(
                    urls, token(sub=f"client-{n}"), CHANNELS[n % len(CHANNELS)]
                )
                self._stack.push_async_callback(client.close)
                self.clients.append(client)
            await eventually(lambda: all(c.url for c in self.clients), what="all have subscribed")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the clients, then the nodes."""
        await self._stack.aclose()

    async def suffer(self, fault: Callable[[], Awaitable[object]]) -> Figures:
        """Let `fault` happen under load; return when all have recovered from it, or never will."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.load.run())
            await asyncio.sleep(_CALM_S)
            await fault()
            ended_at = time.monotonic()
            last = self.load.asked_for
            await self._until(lambda client: client.reading.newest > last)
            back_after_s = time.monotonic() - ended_at
            await asyncio.sleep(_AFTERWARDS_S)
            self.load.stop()
        await self._until(lambda client: self.load.ledger.is_up_to_date(client.reading))
        failures = [client.failure for client in self.clients if client.failure]
        assert not failures, failures
        return Figures.of(self.load, self.clients, back_after_s)

    def clients_on(self, node: NodeProcess) -> list[RecoveringClient]:
        """The clients that are connected to a node."""
        return [client for client in self.clients if client.url == node.websocket_url]

    async def _until(self, condition: Callable[[RecoveringClient], bool]) -> None:
        """Wait until it holds for all clients; if it never does, the ledger tells what is lost."""
        with contextlib.suppress(AssertionError):
            await eventually(lambda: all(map(condition, self.clients)), within_s=_BACK_WITHIN_S)


async def status_of(node: NodeProcess) -> dict[str, Any]:
    """Return what a node tells of itself."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{node.http_url}/status") as response,
    ):
        status: dict[str, Any] = await response.json()
    return status


async def counted_by(node: NodeProcess, counter: str) -> int:
    """Return what a counter of a node's metrics, one without labels, stands at."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{node.http_url}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{counter} "))
    return int(float(value))


async def history_of(node: NodeProcess, channel: str) -> int:
    """Return how many publications a node's API reads from a channel's history."""
    headers = {"X-API-Key": _API_KEY}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{node.http_url}/api/history", json={"channel": channel, "limit": -1}) as got,
    ):
        answer = await got.json()
    return len(answer["result"]["publications"])


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
