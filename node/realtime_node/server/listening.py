"""The ports of a node: which routes are served where, and the end of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from realtime_node.server.http_api import MAX_BODY

BACKLOG: Final = 4096
"""Connections the kernel may hold for us while the loop is busy with a fan-out."""


class Listeners:
    """The TCP ports that a node serves HTTP on."""

    def __init__(self, *, reuse_port: bool) -> None:
        """Listen nowhere yet; `reuse_port` shares ports with other processes (SO_REUSEPORT)."""
        self._reuse_port = reuse_port
        self._runners: list[web.AppRunner] = []

    async def listen(
        self, address: str, port: int, routes: Sequence[web.RouteDef], *, patience_s: float
    ) -> str:
        """Serve routes, and return their URL; raises `OSError` if the port is taken.

        A connection that says nothing for `patience_s` is closed.
        """
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=patience_s)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(
            runner,
            address or None,
            port,
            backlog=BACKLOG,
            reuse_port=self._reuse_port or None,
        )
        await site.start()
        bound_port = runner.addresses[0][1]
        return f"http://{address or 'localhost'}:{bound_port}"

    async def stop(self) -> None:
        """Take no more connections; those that are there stay."""
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()

    async def close(self) -> None:
        """End the connections that are left, too."""
        for runner in self._runners:
            await runner.cleanup()
