"""Gauges that are read when they are scraped, instead of being moved with every event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from realtime_node.composition.parts import Parts
from realtime_node.server.health import Readiness


def bind_gauges(parts: Parts, readiness: Callable[[], Readiness]) -> None:
    """Let every scrape ask the parts themselves."""
    metrics, services, delivery = parts.metrics, parts.services, parts.delivery
    session = metrics.session
    session.clients.set_function(lambda: delivery.registry.num_clients)
    session.subscriptions.set_function(lambda: delivery.registry.num_subscriptions)
    session.pending_departures.set_function(lambda: len(services.departures))
    session.held_departures.set_function(lambda: services.departures.num_held)
    session.pending_session_writes.set_function(lambda: len(services.keeper))
    metrics.delivery.backlog.set_function(lambda: delivery.hub.backlog)
    metrics.delivery.channels.set_function(lambda: delivery.hub.num_channels)
    metrics.compression.clients.set_function(lambda: parts.websockets.num_compressed)
    metrics.admission.waiting.set_function(lambda: parts.door.num_waiting)
    loop = metrics.loop
    loop.lag.set_function(lambda: parts.probe.lag_s)
    loop.worst_lag.set_function(lambda: parts.probe.worst_lag_s)
    loop.busy.set_function(lambda: parts.probe.busy)
    loop.tasks.set_function(lambda: len(asyncio.all_tasks()))
    failures = metrics.failures
    failures.ready.set_function(lambda: readiness().is_ready)
    failures.failing_by_own_fault.set_function(lambda: _count_failing(parts, is_own_fault=True))
    failures.failing_by_others.set_function(lambda: _count_failing(parts, is_own_fault=False))
    slow = metrics.slow
    slow.clients.set_function(lambda: len(delivery.slow_clients))
    slow.waiting.set_function(lambda: delivery.slow_clients.budget.bytes)
    slow.unsent.set_function(lambda: delivery.slow_clients.unsent_total)


def _count_failing(parts: Parts, *, is_own_fault: bool) -> int:
    return sum(loop.is_own_fault is is_own_fault for loop in parts.failures.failing())
