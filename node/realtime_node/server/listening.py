"""The ports of a node: which routes are served where, and the end of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from realtime_node.config import MAX_BODY_SIZE
from realtime_node.server.http_protocol import HttpProtocol, RefusedRequests, expect_nothing
from realtime_node.telemetry.metrics import HttpMetrics

BACKLOG: Final = 4096
"""Connections the kernel may hold for us while the loop is busy with a fan-out."""


class Listeners:
    """The TCP ports that a node serves HTTP on."""

    def __init__(self, metrics: HttpMetrics, *, reuse_port: bool) -> None:
        """Listen nowhere yet; `reuse_port` shares ports with other processes (SO_REUSEPORT)."""
        self._reuse_port = reuse_port
        self._refused = RefusedRequests(metrics, time.monotonic)
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []

    async def listen(
        self, address: str, port: int, routes: Sequence[web.RouteDef], *, patience_s: float
    ) -> str:
        """Serve routes, and return their URL; raises `OSError` if the port is taken.

        A connection that says nothing for `patience_s` is closed.
        """
        app = web.Application(
            client_max_size=MAX_BODY_SIZE, middlewares=[self._refused.refuse_encoded]
        )
        app.add_routes([_expecting_nothing(route) for route in routes])
        runner = web.AppRunner(app)
        await runner.setup()
        self._runners.append(runner)
        manager = runner.server
        assert manager is not None, "setup makes it"
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: HttpProtocol(manager, self._refused, loop=loop, keepalive_timeout=patience_s),
            address or None,
            port,
            backlog=BACKLOG,
            reuse_port=self._reuse_port or None,
        )
        self._servers.append(server)
        bound_port = server.sockets[0].getsockname()[1]
        return f"http://{address or 'localhost'}:{bound_port}"

    async def stop(self) -> None:
        """Take no more connections; those that are there stay."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """End the connections that are left, too."""
        for server in self._servers:
            server.close()
        for runner in self._runners:
            await runner.cleanup()


def _expecting_nothing(route: web.RouteDef) -> web.RouteDef:
    kwargs = {"expect_handler": expect_nothing, **route.kwargs}
    return web.RouteDef(route.method, route.path, route.handler, kwargs)
