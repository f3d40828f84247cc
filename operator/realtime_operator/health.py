"""What Kubernetes and Prometheus ask the operator.

`/healthz` fails when a loop has not come round for long (the lease's, or a cluster's), and when one
that all clusters need has failed for longer: Kubernetes starts the operator again. `/readyz` turns
true with the first look at the lease, and tells each loop that fails for long. One cluster's loop
makes the operator unready, so that people see it, and ends nobody else's. A standby is healthy and
ready, so that an upgrade does not wait for a lease that the old Pod holds. `/metrics` tells the
instruments.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import CONTENT_TYPE, Metrics

STALE_AFTER_S: Final = 120.0
"""Longer than any step of a round may take: every call has a timeout of its own. A round beats with
each of its actions, so one that has many of them is no sign of being stuck."""
UNREADY_AFTER_S: Final = 120.0
"""A loop that has failed for so long makes the operator unready."""
UNHEALTHY_AFTER_S: Final = 300.0
"""One that all clusters need (it has no subject) makes it unhealthy then: a new process may fare
better, and may not, so it comes after the alerts."""


def _is_of_a_handler(record: logging.LogRecord) -> bool:
    """Whether a line is no broken request's: its sender was told, and headers stay out of logs."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


_requests_logger = logging.getLogger("realtime_operator.health.requests")
_requests_logger.addFilter(_is_of_a_handler)


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
        self,
        heartbeats: Heartbeats,
        metrics: Metrics,
        supervisor: Supervisor,
        *,
        address: str,
        port: int,
    ) -> None:
        """Serve on `address`, empty for all of them, and `port`, 0 for a free one."""
        self._heartbeats = heartbeats
        self._supervisor = supervisor
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
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, logger=_requests_logger
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._place).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        wrong = [f"stuck: {loop}" for loop in self._heartbeats.stale()]
        wrong += [
            str(each)
            for each in self._supervisor.failing()
            if each.failing_s >= UNHEALTHY_AFTER_S and not each.subject
        ]
        return _answer(wrong)

    async def _readyz(self, _request: web.Request) -> web.Response:
        if not self._heartbeats.have_begun:
            return _answer(["starting"])
        failing = self._supervisor.failing()
        return _answer([str(each) for each in failing if each.failing_s >= UNREADY_AFTER_S])

    async def _expose(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": CONTENT_TYPE})


def _answer(wrong: list[str]) -> web.Response:
    """503 with what is wrong, a line each; 200 if nothing is."""
    if wrong:
        return web.Response(status=503, text="\n".join(wrong) + "\n")
    return web.Response(text="ok\n")
