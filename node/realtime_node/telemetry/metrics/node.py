"""Instruments of the node as a process: its loop, and the HTTP API that backends call."""

from __future__ import annotations

from realtime_node.telemetry.metrics.maker import Maker


class LoopMetrics:
    """Instruments of the event loop, which does all the node's work."""

    def __init__(self, make: Maker) -> None:
        self.lag = make.gauge(
            "loop_lag_seconds", "How late the loop does what is due, on average over a second."
        )
        self.worst_lag = make.gauge(
            "loop_lag_worst_seconds", "The same, the worst of the last five seconds."
        )
        self.busy = make.gauge(
            "loop_busy_ratio", "The part of its time that the loop's thread works, 0 to 1."
        )
        self.tasks = make.gauge(
            "loop_tasks", "Tasks that the event loop has, most of them waiting."
        )


class ApiMetrics:
    """Instruments of the HTTP API."""

    def __init__(self, make: Maker) -> None:
        self.requests = make.counter("api_requests", "Calls of the HTTP API.", "method", "error")
        self.seconds = make.histogram("api_request_seconds", "Duration of a call of the HTTP API.")


class FailureMetrics:
    """Instruments of what failed unexpectedly, and what the node makes of it.

    Implements `failures.FailureMetrics` and `restarter.RestartMetrics`.
    """

    def __init__(self, make: Maker) -> None:
        self._restarts = make.counter(
            "loop_restarts", "Loops of the node that raised and were run again.", "loop"
        )
        self._errors = make.counter(
            "callback_errors", "Callbacks, or steps of a pass over many, that raised.", "where"
        )
        self.ready = make.gauge("ready", "Whether the node is ready, as /readyz tells: 1 or 0.")
        failing = make.gauge(
            "failing_loops", "Loops that fail at the moment, by whose fault it is.", "fault"
        )
        self.failing_by_own_fault = failing.labels("own")
        self.failing_by_others = failing.labels("other")
        self._decisions = make.counter(
            "self_restart_decisions",
            "What a node decided that has failed for so long that it asks to end itself, and why.",
            "action",
            "reason",
        )

    def restarted(self, loop: str) -> None:
        """Count a loop that raised and is run again."""
        self._restarts.labels(loop).inc()

    def callback_failed(self, where: str) -> None:
        """Count a callback, or one step of many, that raised."""
        self._errors.labels(where).inc()

    def decided(self, action: str, reason: str) -> None:
        """Count a decision whether the node ends itself."""
        self._decisions.labels(action, reason).inc()
