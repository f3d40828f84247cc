"""The settings as each part wants to hear them: in its own words and units."""

from __future__ import annotations

from typing import Final

from realtime_node.admission.admit import Bounds, RetryRange
from realtime_node.admission.door import Rules
from realtime_node.admission.token_bucket import Rate
from realtime_node.config import AdmissionSettings, ClientSettings, Settings, WebSocketSettings
from realtime_node.delivery.frames import Compression
from realtime_node.delivery.slow_clients import SlowLimits
from realtime_node.server.sockets import BufferBounds
from realtime_node.server.upgrade import Terms
from realtime_node.session.lifecycle import Limits

EXPIRY_GRACE: Final = 25.0
"""Seconds a client has to refresh an expired token."""


def session_limits(settings: ClientSettings) -> Limits:
    """How long a session may take."""
    return Limits(
        stale_after=settings.stale_close_delay.total_seconds(),
        ping_interval=settings.ping_interval.total_seconds(),
        pong_timeout=settings.pong_timeout.total_seconds(),
        expiry_grace=EXPIRY_GRACE,
    )


def command_rate(settings: ClientSettings) -> Rate:
    """How much a connection may ask for."""
    return Rate(settings.command_rate, settings.command_burst)


def slow_limits(settings: ClientSettings) -> SlowLimits:
    """What may wait for clients that take nothing."""
    return SlowLimits(
        client_bytes=settings.queue_max_size,
        node_bytes=settings.queues_max_size,
        write_timeout_s=settings.write_timeout.total_seconds(),
    )


def door_rules(settings: AdmissionSettings) -> Rules:
    """Who is let in, and how fast."""
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


def compression(settings: WebSocketSettings) -> Compression:
    """What is compressed for those who read it."""
    return Compression(settings.compression_min_size, settings.compression_level)


def upgrade_terms(settings: Settings) -> Terms:
    """What a WebSocket is opened with."""
    websocket = settings.websocket
    return Terms(
        allowed_origins=settings.client.allowed_origins,
        max_message_bytes=websocket.message_size_limit,
        compresses=websocket.compression,
        buffers=BufferBounds(
            high_water=websocket.high_water_mark,
            send_buffer=websocket.send_buffer_size,
            unsent=websocket.unsent_low_water_mark,
        ),
    )
