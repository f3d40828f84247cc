"""Instruments of the HTTP ports."""

from __future__ import annotations

from typing import Final

from realtime_node.telemetry.metrics.maker import Maker

REFUSED_REQUESTS: Final = ("encoding", "too_large", "malformed")


class HttpMetrics:
    """Instruments of the HTTP ports."""

    def __init__(self, make: Maker) -> None:
        refused = make.counter(
            "http_requests_refused",
            "Requests refused before a handler saw them, by what was wrong: encoding (a"
            " Content-Encoding), too_large (request line or headers), malformed.",
            "reason",
        )
        self.refused = {reason: refused.labels(reason) for reason in REFUSED_REQUESTS}
