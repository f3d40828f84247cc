"""The composition root: settings become a running node here, and nowhere else.

`Node` builds every part and hands each what it needs; `engine` alone knows which implementation of
the backplane that is. Its life is `start`, then `stop` once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from aiohttp import web

from realtime_node import __version__
from realtime_node.admission.admit import Bounds, RetryRange
from realtime_node.admission.door import Door, Rules
from realtime_node.admission.token_bucket import Rate
from realtime_node.cluster.allowance import Traffic
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.config import AdmissionSettings, ClientSettings, Settings
from realtime_node.delivery.frames import Compression, Framer
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.slow_clients import SlowClients, SlowLimits
from realtime_node.drain.drainer import Drainer
from realtime_node.engine import choose_engine
from realtime_node.protocol import codes
from realtime_node.protocol.framing import message_frame
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.proxy.building import Surroundings, build_proxies
from realtime_node.server.admin_api import AdminApi
from realtime_node.server.api_methods import Cluster
from realtime_node.server.auth import JwtVerifier
from realtime_node.server.health import BudgetStatus, HealthEndpoints, Status
from realtime_node.server.http_api import MAX_BODY, HttpApi
from realtime_node.server.sockets import BufferBounds, unsent_bytes
from realtime_node.server.websocket import WebSocketEndpoint
from realtime_node.session.channels import ChannelRules
from realtime_node.session.departures import Departures
from realtime_node.session.keeper import Keeper
from realtime_node.session.lifecycle import Limits
from realtime_node.session.offenders import Offenders
from realtime_node.session.registry import SessionRegistry
from realtime_node.session.services import Services
from realtime_node.telemetry.loop_probe import LoopProbe
from realtime_node.telemetry.metrics import Metrics, total

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
"""Connections the kernel may hold for us while the loop is busy with a fan-out."""
EXPIRY_GRACE: Final = 25.0
"""Seconds a client has to refresh an expired token."""
INTERNAL_PATIENCE_S: Final = 3600.0
"""Seconds that a connection to the internal server may be idle: longer than any proxy keeps one, or
it would send a request on a connection that was just closed."""
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""A node keeps many long-lived objects and makes few cycles: collect rarely."""


class Node:
    """One node of the cluster."""

    def __init__(
        self,
        settings: Settings,
        *,
        reuse_port: bool = False,
        extra_routes: Sequence[web.RouteDef] = (),
    ) -> None:
        """Build everything; nothing runs or listens yet. Raises `ConfigError`.

        `reuse_port` lets several nodes of one machine share a port (SO_REUSEPORT). `extra_routes`
        are served beside the WebSocket.
        """
        self._settings = settings
        self._reuse_port = reuse_port
        self._extra_routes = extra_routes
        self._started_at = time.monotonic()
        self._boot_id = uuid4().hex
        self._is_ready = False
        self._name = settings.node.name or f"{socket.gethostname()}_{settings.http_server.port}"
        self.metrics = Metrics()
        engine = choose_engine(
            settings.engine,
            self.metrics,
            reconnects_per_s=settings.reconnect_budget.connections_per_second_per_node,
        )
        self._backplane, self._presence = engine.backplane, engine.presence
        self._reconnects = engine.reconnects
        self._probe = LoopProbe(time.monotonic, time.thread_time)
        self._door = Door(
            time.monotonic,
            random.random,
            rules=_rules(settings.admission),
            metrics=self.metrics.admission,
            loop_lag_s=lambda: self._probe.lag_s,
            allowance=(
                engine.connects(settings.admission.cluster_connects_per_second)
                if settings.admission.cluster_connects_per_second
                else None
            ),
        )
        self._reconnects.observe(lambda: Traffic(self._is_accepting, self._door.accepted_total))
        codec = JsonCodec()
        websocket = settings.websocket
        framer = Framer(
            self.metrics.compression,
            is_text=codec.is_text,
            compression=Compression(websocket.compression_min_size, websocket.compression_level),
        )
        rules = ChannelRules(settings.channel)
        self._registry = SessionRegistry(time.monotonic)
        self._slow_clients = SlowClients(
            _slow_limits(settings.client),
            lambda messages, wire: framer.single(codec.join(messages), wire),
            metrics=self.metrics.slow,
            delivery_metrics=self.metrics.delivery,
            now=time.monotonic,
            schedule=lambda delay_s, call: asyncio.get_running_loop().call_later(delay_s, call),
            unsent_bytes=unsent_bytes,
        )
        self._hub = Hub(
            codec,
            self.metrics.delivery,
            self._slow_clients,
            framer=framer,
            flow_of=rules.flow,
            on_deserted=self._backplane.release,
            on_control=self._registry.apply,
        )
        self._proxies = build_proxies(
            settings, Surroundings(verdicts=engine.verdicts, instruments=self.metrics.proxy)
        )
        self._departures = Departures(
            self._backplane,
            self._presence,
            max_held=settings.client.session.max_departures,
            monotonic=time.monotonic,
        )
        engine.sessions.watch(self._registry.lost)
        self._keeper = Keeper(
            engine.sessions,
            settings.client,
            self.metrics.session,
            node_id=lambda: self._backplane.node_id,
            wall_clock=time.time,
        )
        self._services = Services(
            version=f"Realtime Cluster {__version__}",
            settings=settings.client,
            rules=rules,
            limits=_limits(settings.client),
            codec=codec,
            framer=framer,
            ping_frame=message_frame(codec.server_ping, is_text=codec.is_text),
            hub=self._hub,
            slow_clients=self._slow_clients,
            offenders=Offenders(),
            rate=Rate(settings.client.command_rate, settings.client.command_burst),
            is_shedding=self._door.is_shedding,
            backplane=self._backplane,
            presence=self._presence,
            departures=self._departures,
            tokens=JwtVerifier(settings.client),
            proxies=self._proxies,
            registry=self._registry,
            metrics=self.metrics.session,
            keeper=self._keeper,
            monotonic=time.monotonic,
            wall_clock=time.time,
            random=random.random,
        )
        self._drainer = Drainer(
            self._registry,
            self._door,
            self._reconnects,
            self.metrics.drain,
            propagation_s=settings.drain.propagation.total_seconds(),
            monotonic=time.monotonic,
            random=random.random,
        )
        self._websockets = WebSocketEndpoint(
            self._services,
            door=self._door,
            allowed_origins=settings.client.allowed_origins,
            max_message_bytes=websocket.message_size_limit,
            compresses=websocket.compression,
            buffers=BufferBounds(
                high_water=websocket.high_water_mark,
                send_buffer=websocket.send_buffer_size,
                unsent=websocket.unsent_low_water_mark,
            ),
        )
        self._api = HttpApi(
            Cluster(
                rules,
                self._backplane,
                self._presence,
                engine.verdicts,
                engine.sessions,
                settings.client,
            ),
            self.metrics.api,
            key=settings.http_api.key.get_secret_value(),
            insecure=settings.http_api.insecure,
        )
        self._admin = AdminApi(
            self._drainer, self._reconnects, key=settings.admin.key.get_secret_value()
        )
        self._health = HealthEndpoints(self.status, self.metrics)
        self._runners: list[web.AppRunner] = []
        self._bind_gauges()

    async def start(self) -> Sequence[str]:
        """Join the cluster and listen; return the URLs listened on, the public one first.

        Raises `BackplaneError` if the cluster cannot be joined and `OSError` if a port is taken.
        """
        await self._backplane.start(self._hub, self._describe)
        self._registry.start()
        self._proxies.start()
        self._drainer.start()
        self._probe.start()
        settings = self._settings.http_server
        public = [
            web.get(self._settings.websocket.handler_prefix, self._websockets.handle),
            *self._extra_routes,
        ]
        internal = [*self._api.routes(), *self._health.routes()]
        patience_s = self._settings.admission.handshake_timeout.total_seconds()
        try:
            urls = [
                await self._listen(
                    settings.address,
                    settings.port,
                    public + internal if settings.internal_port is None else public,
                    patience_s=patience_s,
                )
            ]
            if settings.internal_port is not None:
                internal += self._admin.routes()
                address = settings.internal_address or settings.address
                urls.append(
                    await self._listen(
                        address, settings.internal_port, internal, patience_s=INTERNAL_PATIENCE_S
                    )
                )
        except OSError:
            await self.stop()
            raise
        self._is_ready = True
        # What exists by now stays; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        return urls

    def end(self) -> None:
        """Send the clients elsewhere within the grace, as the budget allows; again: hurry."""
        self._drainer.end(self._settings.shutdown.timeout.total_seconds())

    async def wait_emptied(self) -> None:
        """Return when nobody is left of those that `end` sends elsewhere."""
        await self._drainer.wait_emptied()

    async def stop(self) -> None:
        """End in order: no new clients, those who are left sent elsewhere, the cluster left."""
        self._is_ready = False
        await self._drainer.stop()
        deadline = self._drainer.exit_at - time.monotonic()
        deadline = min(deadline, self._settings.shutdown.timeout.total_seconds())
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        self._door.close("this node is ending")
        self._registry.close_all(codes.SHUTDOWN)
        try:
            async with asyncio.timeout(deadline):
                await self._websockets.wait_closed()
                await self._departures.drain()
                await self._keeper.drain()
        except TimeoutError:
            logger.warning("shutdown: not everything was let go within %.0f s", deadline)
        await self._departures.close()
        await self._keeper.close()
        await self._registry.stop()
        await self._proxies.close()
        self._probe.stop()
        await self._backplane.close()
        for runner in self._runners:
            await runner.cleanup()

    def status(self) -> Status:
        """Describe the node at this moment."""
        registry, delivery = self._registry, self.metrics.delivery
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
            connects_total=total(self.metrics.session.connects),
            deliveries_total=total(delivery.deliveries),
            entries_total=total(delivery.entries_received),
            delivery_backlog=self._hub.backlog,
            pending_departures=len(self._departures),
            drain=self._drainer.status(),
            shed=self._drainer.shedding,
            budget=BudgetStatus.of(self._reconnects.known()),
            loop_lag_s=round(self._probe.lag_s, 6),
            loop_busy=round(self._probe.busy, 4),
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

    def _bind_gauges(self) -> None:
        """Let gauges be read when they are scraped instead of moving them with every event."""
        session, delivery = self.metrics.session, self.metrics.delivery
        session.clients.set_function(lambda: self._registry.num_clients)
        session.subscriptions.set_function(lambda: self._registry.num_subscriptions)
        session.pending_departures.set_function(lambda: len(self._departures))
        session.held_departures.set_function(lambda: self._departures.num_held)
        session.pending_session_writes.set_function(lambda: len(self._keeper))
        delivery.backlog.set_function(lambda: self._hub.backlog)
        self.metrics.compression.clients.set_function(lambda: self._websockets.num_compressed)
        delivery.channels.set_function(lambda: self._hub.num_channels)
        slow = self.metrics.slow
        self.metrics.admission.waiting.set_function(lambda: self._door.num_waiting)
        loop = self.metrics.loop
        loop.lag.set_function(lambda: self._probe.lag_s)
        loop.worst_lag.set_function(lambda: self._probe.worst_lag_s)
        loop.busy.set_function(lambda: self._probe.busy)
        slow.clients.set_function(lambda: len(self._slow_clients))
        slow.waiting.set_function(lambda: self._slow_clients.budget.bytes)
        slow.unsent.set_function(lambda: self._slow_clients.unsent_total)

    async def _listen(
        self, address: str, port: int, routes: Sequence[web.RouteDef], *, patience_s: float
    ) -> str:
        """Serve routes; a connection that says nothing for `patience_s` is closed."""
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


def _limits(settings: ClientSettings) -> Limits:
    return Limits(
        stale_after=settings.stale_close_delay.total_seconds(),
        ping_interval=settings.ping_interval.total_seconds(),
        pong_timeout=settings.pong_timeout.total_seconds(),
        expiry_grace=EXPIRY_GRACE,
    )


def _rules(settings: AdmissionSettings) -> Rules:
    return Rules(
        bounds=Bounds(
            max_connections=settings.max_connections,
            max_waiting=settings.max_waiting,
            wait_s=settings.wait.total_seconds(),
        ),
        rate=Rate(settings.connects_per_second, settings.burst),
        per_ip=Rate(settings.per_ip_connects_per_second, settings.per_ip_burst),
        trusted_proxies=settings.trusted_networks,
        proxy_header=settings.proxy_header,
        shed_loop_lag_s=settings.shed_loop_lag.total_seconds(),
        retry=RetryRange(
            int(settings.retry_after_min.total_seconds()),
            int(settings.retry_after_max.total_seconds()),
        ),
    )


def _slow_limits(settings: ClientSettings) -> SlowLimits:
    return SlowLimits(
        client_bytes=settings.queue_max_size,
        node_bytes=settings.queues_max_size,
        write_timeout_s=settings.write_timeout.total_seconds(),
    )
