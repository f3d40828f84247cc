"""Builds every part of a node and hands each what it needs; nothing runs or listens yet.

From the bottom up: what the cluster shares, delivery, sessions, and the doors. `engine` alone knows
which implementation of the backplane that is.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from realtime_node import __version__
from realtime_node.admission.door import Door
from realtime_node.composition import rules
from realtime_node.config import Settings
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.slow_clients import SlowClients
from realtime_node.drain.drainer import Drainer
from realtime_node.engine import Engine, choose_engine
from realtime_node.failures import Failures
from realtime_node.protocol.framing import message_frame
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.proxy.building import Surroundings, Trusts, build_proxies, read_trusts
from realtime_node.server.admin_api import AdminApi
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.auth import JwtVerifier
from realtime_node.server.http_api import HttpApi
from realtime_node.server.shared_key import SharedKey
from realtime_node.server.sockets import unsent_bytes
from realtime_node.server.upgrade import WebSocketEndpoint
from realtime_node.session.channels import ChannelRules
from realtime_node.session.departures import Departures
from realtime_node.session.keeper import Keeper
from realtime_node.session.offenders import Offenders
from realtime_node.session.registry import SessionRegistry
from realtime_node.session.services import Services
from realtime_node.supervision import guarded
from realtime_node.telemetry.loop_probe import LoopProbe
from realtime_node.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """From the inbox to the sockets."""

    codec: JsonCodec
    framer: Framer
    rules: ChannelRules
    registry: SessionRegistry
    slow_clients: SlowClients
    hub: Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a node is made of."""

    metrics: Metrics
    failures: Failures
    probe: LoopProbe
    engine: Engine
    door: Door
    delivery: Delivery
    services: Services
    drainer: Drainer
    websockets: WebSocketEndpoint
    api: HttpApi
    admin: AdminApi


def build_parts(settings: Settings) -> Parts:
    """Build everything; raises `ConfigError`."""
    metrics = Metrics()
    engine = choose_engine(
        settings.engine,
        metrics,
        reconnects_per_s=settings.reconnect_budget.connections_per_second_per_node,
    )
    probe = LoopProbe(time.monotonic, time.thread_time)
    door = _door(settings, engine, metrics, probe)
    delivery = _delivery(settings, engine, metrics)
    services = _services(settings, engine, metrics, delivery, door)
    drainer = Drainer(
        delivery.registry,
        door,
        engine.reconnects,
        metrics.drain,
        propagation_s=settings.drain.propagation.total_seconds(),
        monotonic=time.monotonic,
        random=random.random,
    )
    return Parts(
        metrics=metrics,
        failures=Failures(metrics.failures, monotonic=time.monotonic),
        probe=probe,
        engine=engine,
        door=door,
        delivery=delivery,
        services=services,
        drainer=drainer,
        websockets=WebSocketEndpoint(services, door=door, terms=rules.upgrade_terms(settings)),
        api=HttpApi(
            Cluster(
                delivery.rules,
                engine.backplane,
                engine.presence,
                engine.verdicts,
                engine.sessions,
                settings.client,
                history_limit=settings.http_api.history_max_publication_limit,
            ),
            metrics.api,
            key=SharedKey(settings.http_api.key),
            insecure=settings.http_api.insecure,
            max_body_bytes=settings.http_api.body_size_limit,
        ),
        admin=AdminApi(drainer, engine.reconnects, key=SharedKey(settings.admin.key)),
    )


def surroundings(engine: Engine, metrics: Metrics, trusts: Trusts) -> Surroundings:
    """What proxies are built with."""
    return Surroundings(verdicts=engine.verdicts, instruments=metrics.proxy, trusts=trusts)


def _door(settings: Settings, engine: Engine, metrics: Metrics, probe: LoopProbe) -> Door:
    cluster_rate = settings.admission.cluster_connects_per_second
    return Door(
        time.monotonic,
        random.random,
        rules=rules.door_rules(settings.admission),
        metrics=metrics.admission,
        loop_lag_s=lambda: probe.lag_s,
        allowance=engine.connects(cluster_rate) if cluster_rate else None,
    )


def _delivery(settings: Settings, engine: Engine, metrics: Metrics) -> Delivery:
    codec = JsonCodec()
    framer = Framer(
        metrics.compression,
        is_text=codec.is_text,
        compression=rules.compression(settings.websocket),
    )
    channel_rules = ChannelRules(settings.channel)
    registry = SessionRegistry(time.monotonic)
    slow_clients = SlowClients(
        rules.slow_limits(settings.client),
        lambda messages, wire: framer.single(codec.join(messages), wire),
        metrics=metrics.slow,
        delivery_metrics=metrics.delivery,
        now=time.monotonic,
        schedule=lambda delay_s, call: asyncio.get_running_loop().call_later(
            delay_s, guarded(call, where="slow-clients")
        ),
        unsent_bytes=unsent_bytes,
    )
    hub = Hub(
        codec,
        metrics.delivery,
        slow_clients,
        framer=framer,
        flow_of=channel_rules.flow,
        on_deserted=engine.backplane.release,
        on_control=registry.apply,
    )
    return Delivery(
        codec=codec,
        framer=framer,
        rules=channel_rules,
        registry=registry,
        slow_clients=slow_clients,
        hub=hub,
    )


def _services(
    settings: Settings, engine: Engine, metrics: Metrics, delivery: Delivery, door: Door
) -> Services:
    client = settings.client
    codec = delivery.codec
    engine.sessions.watch(delivery.registry.lost)
    return Services(
        version=f"Realtime Cluster {__version__}",
        settings=client,
        rules=delivery.rules,
        limits=rules.session_limits(client),
        codec=codec,
        framer=delivery.framer,
        ping_frame=message_frame(codec.server_ping, is_text=codec.is_text),
        hub=delivery.hub,
        slow_clients=delivery.slow_clients,
        offenders=Offenders(),
        rate=rules.command_rate(client),
        is_shedding=door.is_shedding,
        backplane=engine.backplane,
        presence=engine.presence,
        departures=Departures(
            engine.backplane,
            engine.presence,
            max_held=client.session.max_departures,
            monotonic=time.monotonic,
        ),
        tokens=JwtVerifier(client),
        proxies=build_proxies(settings, surroundings(engine, metrics, read_trusts(settings))),
        registry=delivery.registry,
        metrics=metrics.session,
        keeper=Keeper(
            engine.sessions,
            client,
            metrics.session,
            node_id=lambda: engine.backplane.node_id,
            wall_clock=time.time,
        ),
        monotonic=time.monotonic,
        wall_clock=time.time,
        random=random.random,
    )
