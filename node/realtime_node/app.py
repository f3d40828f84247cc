"""The composition root: settings become a running node here, and nowhere else.

`composition` builds the parts; a `Node` is their life together: `start`, then `stop` once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from aiohttp import web

from realtime_node import __version__, failures
from realtime_node.cluster.allowance import Traffic
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.composition.applying import Applier
from realtime_node.composition.gauges import bind_gauges
from realtime_node.composition.parts import build_parts
from realtime_node.composition.reloading import Reloader
from realtime_node.composition.teardown import Step, tear_down
from realtime_node.config import Settings, SettingsSource
from realtime_node.protocol import codes
from realtime_node.server.health import BudgetStatus, HealthEndpoints, Status
from realtime_node.server.listening import Listeners
from realtime_node.telemetry.metrics import total

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
        self._started_at = time.monotonic()
        self._boot_id = uuid4().hex
        self._is_ready = False
        self._name = settings.node.name or f"{socket.gethostname()}_{settings.http_server.port}"
        self._parts = parts = build_parts(settings)
        self._backplane = parts.engine.backplane
        self._registry, self._hub = parts.delivery.registry, parts.delivery.hub
        self._door, self._drainer, self._probe = parts.door, parts.drainer, parts.probe
        self._websockets, self._services = parts.websockets, parts.services
        self._health = HealthEndpoints(self.status, parts.metrics)
        self._listeners = Listeners(parts.metrics.http, reuse_port=reuse_port)
        self._applier = Applier(parts)
        self._reloader = Reloader(settings, source, self._applier, parts.metrics.settings)
        parts.engine.reconnects.observe(
            lambda: Traffic(self._is_accepting, self._door.accepted_total)
        )
        bind_gauges(parts)

    async def start(self) -> Sequence[str]:
        """Join the cluster and listen; return the URLs listened on, the public one first.

        Raises `BackplaneError` if the cluster cannot be joined and `OSError` if a port is taken.
        Whatever it raises, nothing that was started is left.
        """
        with failures.recording(self._parts.failures):
            try:
                return await self._start()
            except BaseException:
                await self.stop()
                raise

    async def _start(self) -> Sequence[str]:
        await self._backplane.start(self._hub, self._describe)
        self._registry.start()
        self._services.proxies.start()
        self._drainer.start()
        self._probe.start()
        self._reloader.start()
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
        self._is_ready = True
        return urls

    def reload(self) -> None:
        """Read the settings again and go by them, as far as that is possible without a restart."""
        self._reloader.ask()

    @property
    def _settings(self) -> Settings:
        """What the node goes by at the moment."""
        return self._reloader.settings

    def end(self) -> None:
        """Send the clients elsewhere within the grace, as the budget allows; again: hurry."""
        self._drainer.end(self._settings.shutdown.timeout.total_seconds())

    async def wait_emptied(self) -> None:
        """Return when nobody is left of those that `end` sends elsewhere."""
        await self._drainer.wait_emptied()

    async def stop(self) -> None:
        """End in order: no new clients, those who are left sent elsewhere, the cluster left.

        What is not running is not there to be ended, so it serves a start that failed, too.
        """
        self._is_ready = False
        within_s = self._settings.shutdown.timeout.total_seconds()
        within_s = min(within_s, self._drainer.exit_at - time.monotonic())
        with failures.recording(self._parts.failures):
            await tear_down(self._ends(), within_s)

    def _ends(self) -> Sequence[Step]:
        registry, services = self._registry, self._services
        departures, keeper = services.departures, services.keeper
        return (
            Step("settings", self._reloader.stop),
            Step("drain", self._drainer.stop),
            Step("ports", self._listeners.stop),
            Step("admission", partial(self._door.close, "this node is ending")),
            Step("clients", partial(registry.close_all, codes.SHUTDOWN)),
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

    def status(self) -> Status:
        """Describe the node at this moment."""
        registry, delivery = self._registry, self._parts.metrics.delivery
        return Status(
            node_id=self._backplane.node_id,
            boot_id=self._boot_id,
            name=self._name,
            version=__version__,
            ready=self._is_ready and not self._drainer.is_ending,
            accepting=self._is_accepting,
            backplane_available=self._backplane.is_available(),
            uptime_s=round(time.monotonic() - self._started_at, 3),
            num_clients=registry.num_clients,
            num_connections=self._websockets.num_connections,
            max_connections=self._settings.admission.max_connections,
            num_waiting=self._door.num_waiting,
            num_users=registry.num_users,
            num_subs=registry.num_subscriptions,
            num_channels=self._hub.num_channels,
            accepted_total=self._door.accepted_total,
            accept_rate_per_s=round(self._door.accept_rate_per_s, 3),
            refused_total=self._door.refused_total,
            connects_total=total(self._parts.metrics.session.connects),
            deliveries_total=total(delivery.deliveries),
            entries_total=total(delivery.entries_received),
            delivery_backlog=self._hub.backlog,
            pending_departures=len(self._services.departures),
            drain=self._drainer.status(),
            shed=self._drainer.shedding,
            budget=BudgetStatus.of(self._parts.engine.reconnects.known()),
            loop_lag_s=round(self._probe.lag_s, 6),
            loop_busy=round(self._probe.busy, 4),
            loop_busy_s_total=round(self._probe.busy_s_total, 3),
            failing=self._parts.failures.failing(),
            settings=self._reloader.status,
        )

    @property
    def _is_accepting(self) -> bool:
        return self._is_ready and not self._door.is_cordoned

    def _describe(self) -> NodeInfo:
        return NodeInfo(
            uid=self._backplane.node_id,
            name=self._name,
            version=__version__,
            num_clients=self._registry.num_clients,
            num_users=self._registry.num_users,
            num_subs=self._registry.num_subscriptions,
            num_channels=self._hub.num_channels,
            uptime=int(time.monotonic() - self._started_at),
        )
