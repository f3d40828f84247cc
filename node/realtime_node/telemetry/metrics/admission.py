"""Instruments of `admission`."""

from __future__ import annotations

from typing import Final

from realtime_node.telemetry.metrics.maker import Maker

WAIT_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 20, 30)
REFUSED: Final = ("cordoned", "max_connections", "loop_lag", "per_ip", "room_full", "rate")


class AdmissionMetrics:
    """Instruments of `admission`."""

    def __init__(self, make: Maker) -> None:
        self.accepted = make.counter("handshakes_accepted", "Handshakes that were let in.")
        refused = make.counter(
            "handshakes_refused", "Handshakes that were not, by what was in the way.", "reason"
        )
        self.refused = {reason: refused.labels(reason) for reason in REFUSED}
        self.waiting = make.gauge("handshakes_waiting", "Handshakes that wait for their turn.")
        self.waited = make.histogram(
            "handshake_wait_seconds",
            "How long those waited that were let in, but not at once.",
            buckets=WAIT_BUCKETS_S,
        )
