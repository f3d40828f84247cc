"""Prometheus instruments, a module for each room that moves them.

`Metrics` makes them all in one registry of its own, so that two nodes in one process (tests) do
not share numbers. Hot paths count per batch with `inc(n)`, never per client, and look up no label
that can be looked up before.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from realtime_node.telemetry.metrics.admission import REFUSED, AdmissionMetrics
from realtime_node.telemetry.metrics.backplane import BackplaneMetrics
from realtime_node.telemetry.metrics.delivery import (
    CompressionMetrics,
    DeliveryMetrics,
    SlowClientMetrics,
)
from realtime_node.telemetry.metrics.drain import DrainMetrics
from realtime_node.telemetry.metrics.http import HttpMetrics
from realtime_node.telemetry.metrics.maker import Maker, total
from realtime_node.telemetry.metrics.node import ApiMetrics, FailureMetrics, LoopMetrics
from realtime_node.telemetry.metrics.proxy import ProxyMetrics
from realtime_node.telemetry.metrics.session import SessionMetrics
from realtime_node.telemetry.metrics.settings import SettingsMetrics

__all__ = [
    "REFUSED",
    "AdmissionMetrics",
    "ApiMetrics",
    "BackplaneMetrics",
    "CompressionMetrics",
    "DeliveryMetrics",
    "DrainMetrics",
    "FailureMetrics",
    "HttpMetrics",
    "LoopMetrics",
    "Metrics",
    "ProxyMetrics",
    "SessionMetrics",
    "SettingsMetrics",
    "SlowClientMetrics",
    "total",
]


class Metrics:
    """All instruments of one node and their exposition."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        """Make every instrument at zero."""
        self._registry = CollectorRegistry()
        make = Maker(self._registry)
        self.delivery = DeliveryMetrics(make)
        self.compression = CompressionMetrics(make)
        self.slow = SlowClientMetrics(make)
        self.session = SessionMetrics(make)
        self.backplane = BackplaneMetrics(make)
        self.proxy = ProxyMetrics(make)
        self.drain = DrainMetrics(make)
        self.api = ApiMetrics(make)
        self.http = HttpMetrics(make)
        self.admission = AdmissionMetrics(make)
        self.loop = LoopMetrics(make)
        self.failures = FailureMetrics(make)
        self.settings = SettingsMetrics(make)

    def expose(self) -> bytes:
        """Return all instruments in Prometheus' text format."""
        return generate_latest(self._registry)
