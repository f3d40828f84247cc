"""What Kubernetes and Prometheus ask the operator.

`/healthz` fails when a loop has not come round for long: the lease's, or a cluster's. A standby is
healthy and ready, so that an upgrade does not wait for a lease that the old Pod holds. `/readyz`
turns true with the first look at the lease, and `/metrics` tells the instruments.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from realtime_operator.telemetry.metrics import CONTENT_TYPE, Metrics

STALE_AFTER_S: Final = 120.0
"""Longer than any step of a round may take: every call has a timeout of its own. A round beats with
each of its actions, so one that has many of them is no sign of being stuck."""


class Heartbeats:
    """When each loop last came round; a loop that has ended is forgotten."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin without loops."""
        self._monotonic = monotonic
        self._beats: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """A loop came round."""
        self._beats[loop] = self._monotonic()

    def ended(self, loop: str) -> None:
        """A loop has ended as it should."""
        self._beats.pop(loop, None)

    @property
    def have_begun(self) -> bool:
        """Whether any loop came round at all."""
        return bool(self._beats)

    def stale(self) -> list[str]:
        """The loops that have not come round for too long."""
        oldest = self._monotonic() - STALE_AFTER_S
        return [loop for loop, at in self._beats.items() if at < oldest]


class HealthServer:
    """Serves the three paths."""

    def __init__(
        self, heartbeats: Heartbeats, metrics: Metrics, *, address: str, port: int
    ) -> None:
        """Serve on `address`, empty for all of them, and `port`, 0 for a free one."""
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._place = (address or None, port)
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; return the port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._expose),
            ]
        )
        # A body is never read, and so never decompressed: a small one could become gigabytes.
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._place).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        if stale := self._heartbeats.stale():
            return web.Response(status=503, text=f"stuck: {', '.join(stale)}\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._heartbeats.have_begun:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="starting\n")

    async def _expose(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": CONTENT_TYPE})
