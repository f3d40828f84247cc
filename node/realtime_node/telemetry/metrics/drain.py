"""Instruments of `drain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from realtime_node.telemetry.metrics.maker import Maker


class DrainMetrics:
    """Instruments of `drain`."""

    def __init__(self, make: Maker) -> None:
        self._phase = make.gauge("drain_phase", "1 for the phase that the node is in.", "phase")
        self._remaining = make.gauge("drain_remaining", "Clients still to be closed by a drain.")
        closes = make.counter("drain_closes", "Clients sent elsewhere, by what for.", "cause")
        self._closes = {cause: closes.labels(cause) for cause in ("drain", "shed", "forced")}
        self._permits = make.counter(
            "reconnect_permits_leased", "Permits to close clients that this node was given."
        )
        self._denials = make.counter(
            "reconnect_lease_denials", "Leases that brought no permit: the budget was used up."
        )
        self._local = make.counter(
            "reconnect_local_leases",
            "Leases out of this node's own share, since the store did not answer.",
        )
        self.deadline_extensions = make.counter(
            "drain_deadline_extensions", "Deadlines moved rather than the budget broken."
        )

    def follow(
        self, phases: Sequence[str], phase: Callable[[], str], remaining: Callable[[], int]
    ) -> None:
        """Ask for phase and remaining clients with every scrape."""
        for name in phases:
            self._phase.labels(name).set_function(partial(_is, phase, name))
        self._remaining.set_function(remaining)

    def leased(self, permits: int, *, is_local: bool) -> None:
        """Count a lease."""
        if permits:
            self._permits.inc(permits)
        else:
            self._denials.inc()
        if is_local:
            self._local.inc()

    def closed(self, cause: str) -> None:
        """Count a client that was closed."""
        self._closes[cause].inc()


def _is(value: Callable[[], str], name: str) -> float:
    return float(value() == name)
