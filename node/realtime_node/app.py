"""The composition root: settings become a running node here, and nowhere else.

`composition` builds the parts; a `Node` is their life together: `start`, then `stop` once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from aiohttp import web

from realtime_node import failures
from realtime_node.composition.applying import Applier
from realtime_node.composition.gauges import bind_gauges
from realtime_node.composition.parts import build_parts
from realtime_node.composition.reloading import Reloader
from realtime_node.composition.reporting import Reporter
from realtime_node.composition.teardown import Step, tear_down
from realtime_node.config import Settings, SettingsSource
from realtime_node.drain.restarter import Restarter
from realtime_node.protocol import codes
from realtime_node.server.health import HealthEndpoints, Status
from realtime_node.server.listening import Listeners

STARTING: Final = "this node is starting"
INTERNAL_PATIENCE_S: Final = 3600.0
"""Seconds that a connection to the internal server may be idle: longer than any proxy keeps one, or
it would send a request on a connection that was just closed."""


class Node:
    """One node of the cluster."""

    def __init__(
        self,
        settings: Settings,
        *,
        source: SettingsSource | None = None,
        reuse_port: bool = False,
        extra_routes: Sequence[web.RouteDef] = (),
    ) -> None:
        """Build everything; nothing runs or listens yet. Raises `ConfigError`.

        Settings that have a `source` are read again when that changes. `reuse_port` lets several
        nodes of one machine share a port (SO_REUSEPORT). `extra_routes` are served beside the
        WebSocket.
        """
        self._extra_routes = extra_routes
        self._parts = parts = build_parts(settings)
        self._backplane = parts.engine.backplane
        self._registry, self._hub = parts.delivery.registry, parts.delivery.hub
        self._door, self._drainer, self._probe = parts.door, parts.drainer, parts.probe
        self._websockets, self._services = parts.websockets, parts.services
        self._listeners = Listeners(parts.metrics.http, reuse_port=reuse_port)
        self._applier = Applier(parts)
        self._reloader = Reloader(settings, source, self._applier, parts.metrics.settings)
        self._reporter = Reporter(settings, parts, self._reloader)
        self._health = HealthEndpoints(self.status, self._reporter.readiness, parts.metrics)
        self._restarter = Restarter(
            parts.failures.failing,
            self._backplane,
            self._drainer,
            parts.metrics.failures,
            settings=lambda: self._settings.shutdown,
            random=random.random,
        )
        parts.engine.reconnects.observe(self._reporter.traffic)
        bind_gauges(parts, self._reporter.readiness)

    async def start(self) -> Sequence[str]:
        """Listen and join the cluster; return the URLs listened on, the public one first.

        Waits for a store that cannot be reached, not ready meanwhile, as long as the settings
        allow; `end` ends that too. Raises `BackplaneError` if the cluster cannot be joined and
        `OSError` if a port is taken. Whatever it raises, nothing that was started is left.
        """
        with self.recording():
            try:
                return await self._start()
            except BaseException:
                await self.stop()
                raise

    async def _start(self) -> Sequence[str]:
        self._door.cordon(STARTING)
        self._registry.start()
        self._services.proxies.start()
        self._drainer.start()
        self._probe.start()
        self._reloader.start()
        self._restarter.start()
        # Before the cluster is joined, which may take until Redis is there: who asks is told why.
        urls = await self._listen()
        await self._join()
        return urls

    async def _listen(self) -> Sequence[str]:
        settings = self._settings.http_server
        public = [
            web.get(self._settings.websocket.handler_prefix, self._websockets.handle),
            *self._extra_routes,
        ]
        internal = [*self._parts.api.routes(), *self._health.routes()]
        patience_s = self._settings.admission.handshake_timeout.total_seconds()
        urls = [
            await self._listeners.listen(
                settings.address,
                settings.port,
                public + internal if settings.internal_port is None else public,
                patience_s=patience_s,
            )
        ]
        if settings.internal_port is not None:
            internal += self._parts.admin.routes()
            address = settings.internal_address or settings.address
            urls.append(
                await self._listeners.listen(
                    address, settings.internal_port, internal, patience_s=INTERNAL_PATIENCE_S
                )
            )
        return urls

    def recording(self) -> AbstractContextManager[None]:
        """Let the failures of what is started inside count as this node's."""
        return failures.recording(self._parts.failures)

    async def _join(self) -> None:
        """Join the cluster and let clients in, unless the node is asked to end before it could."""
        joining = asyncio.create_task(self._backplane.start(self._hub, self._reporter.info))
        ending = asyncio.create_task(self.wait_emptied())
        try:
            await asyncio.wait((joining, ending), return_when=asyncio.FIRST_COMPLETED)
            has_joined = joining.done()
        finally:
            for task in (joining, ending):
                task.cancel()
            await asyncio.gather(joining, ending, return_exceptions=True)
        if has_joined:
            joining.result()
            self._reporter.is_serving = True
            self._door.uncordon(STARTING)

    def reload(self) -> None:
        """Read the settings again and go by them, as far as that is possible without a restart."""
        self._reloader.ask()

    @property
    def _settings(self) -> Settings:
        """What the node goes by at the moment."""
        return self._reloader.settings

    @property
    def _grace_s(self) -> float:
        return self._settings.shutdown.timeout.total_seconds()

    def status(self) -> Status:
        """Describe the node at this moment."""
        return self._reporter.status()

    def end(self) -> None:
        """Send the clients elsewhere within the grace, as the budget allows; again: hurry."""
        self._drainer.end(self._grace_s)

    @property
    def failure(self) -> str:
        """Why the node ends itself, as one that fails by its own fault does; empty: it does not."""
        return self._restarter.reason

    async def wait_emptied(self) -> None:
        """Return when the node was asked to end, or ends itself, and its clients are elsewhere."""
        await self._drainer.wait_emptied()

    async def stop(self) -> None:
        """End in order: no new clients, those who are left sent elsewhere, the cluster left.

        What is not running is not there to be ended, so it serves a start that failed, too.
        """
        self._reporter.is_serving = False
        within_s = min(self._grace_s, self._drainer.exit_at - time.monotonic())
        with self.recording():
            await tear_down(self._ends(), within_s)

    def _ends(self) -> Sequence[Step]:
        registry, services = self._registry, self._services
        departures, keeper = services.departures, services.keeper
        return (
            Step("self-restart", self._restarter.stop),
            Step("settings", self._reloader.stop),
            Step("drain", self._drainer.stop),
            Step("ports", self._listeners.stop),
            Step("admission", partial(self._door.close, "this node is ending")),
            Step("clients", partial(registry.close_all, codes.SHUTDOWN), weight=5),
            Step("goodbyes", self._websockets.wait_closed, weight=10),
            Step("departures", departures.drain, weight=5),
            Step("session-records", keeper.drain, weight=5),
            Step("departures-close", departures.close),
            Step("session-records-close", keeper.close),
            Step("deadlines", registry.stop),
            Step("proxies", services.proxies.close),
            Step("retired-proxies", self._applier.close),
            Step("loop-probe", self._probe.stop),
            Step("backplane", self._backplane.close, weight=5),
            Step("requests", self._listeners.close),
        )
