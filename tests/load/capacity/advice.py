"""From what one node held to the settings that keep it there. Pure.

A limit is the largest load that held. What a cluster is steered to (the targets of autoscaling, and
the rate of admission, which has to leave room for delivering meanwhile) is a stated share of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAFETY: Final = 0.7
"""Share of the measured that is steered to."""
SLOW_CLIENTS_MIB: Final = 256
"""`client.queues_max_size`: what a node may hold for clients that do not keep up."""
SPARE_SHARE: Final = 0.1
"""Of a memory limit: allocators do not fill every page."""
_SIGNIFICANT: Final = 2


@dataclass(frozen=True)
class MemoryFit:
    """Resident memory as a line over clients."""

    idle_mib: float
    kib_per_client: float

    def clients_within(self, limit_mib: float) -> int:
        """Return how many clients fit below a limit, with room for slow ones; 0 if none."""
        room_mib = limit_mib * (1 - SPARE_SHARE) - self.idle_mib - SLOW_CLIENTS_MIB
        return max(int(room_mib * 1024 / self.kib_per_client), 0)


def fit_memory(samples: Sequence[tuple[int, float]]) -> MemoryFit:
    """Fit a line through (clients, resident KiB), the first of which is without clients.

    By least squares through the idle point: what a node takes before its first client is known.
    """
    (_, idle_kib), *held = samples
    over = sum(clients * (kib - idle_kib) for clients, kib in held)
    return MemoryFit(idle_kib / 1024, over / sum(clients * clients for clients, _ in held))


@dataclass(frozen=True)
class Measured:
    """What one node held."""

    connections: int
    connections_stopped_by: str
    memory: MemoryFit
    ping_busy_percent: float
    """Of the node's core, from holding and pinging so many."""
    deliveries_per_s: float
    """At one publication per frame, the dearest."""
    busy_percent: float
    """Of the node's core at that."""
    connects_per_s: float
    lag_bound_ms: float


@dataclass(frozen=True)
class Advice:
    """What to set, each with its reason."""

    max_connections: int
    max_connections_because: str
    connects_per_second: int
    burst: int
    max_deliveries_per_s: int
    target_connection_percent: int
    target_deliveries_per_s: int
    target_loop_busy_percent: int


def advise(
    measured: Measured, *, memory_limit_mib: float | None = None, safety: float = SAFETY
) -> Advice:
    """Return settings.

    Raises:
        ValueError: nothing held, or no client fits below the memory limit.
    """
    if not min(measured.connections, measured.deliveries_per_s, measured.connects_per_s):
        raise ValueError(
            "not even the least load held, of one kind at least, so there is nothing to set:"
            " repeat on a quiet machine"
        )
    connections, because = measured.connections, measured.connections_stopped_by
    if memory_limit_mib is not None:
        fitting = measured.memory.clients_within(memory_limit_mib)
        if not fitting:
            least = (measured.memory.idle_mib + SLOW_CLIENTS_MIB) / (1 - SPARE_SHARE)
            raise ValueError(
                f"a memory limit of {memory_limit_mib:.0f} MiB leaves no room for clients:"
                f" give more than {least:.0f}"
            )
        if fitting < connections:
            connections, because = fitting, f"the memory limit of {memory_limit_mib:.0f} MiB"
    return Advice(
        max_connections=rounded_down(connections),
        max_connections_because=because,
        connects_per_second=max(rounded_down(safety * measured.connects_per_s), 1),
        # A burst is let in at once: so many take the loop about as long as it may lag.
        burst=max(int(measured.connects_per_s * measured.lag_bound_ms / 1e3), 1),
        max_deliveries_per_s=rounded_down(measured.deliveries_per_s),
        target_connection_percent=round(100 * safety),
        target_deliveries_per_s=rounded_down(safety * measured.deliveries_per_s),
        target_loop_busy_percent=round(safety * min(measured.busy_percent, 100)),
    )


def extrapolated(measured: Measured, limit_mib: float, *, most_busy_percent: float) -> int:
    """Return how many clients would fit a memory limit and a share of the core, idle but pinged.

    A straight line beyond what was held: honest about memory, which grows by client, and about the
    CPU of pings; not about caches or the kernel.
    """
    by_memory = measured.memory.clients_within(limit_mib)
    if measured.ping_busy_percent <= 0:
        return by_memory
    by_cpu = int(measured.connections * most_busy_percent / measured.ping_busy_percent)
    return min(by_memory, by_cpu)


def rounded_down(value: float) -> int:
    """Return a number of two significant digits that is not greater."""
    if value < 1:
        return 0
    unit = int(10 ** max(int(math.log10(value)) - _SIGNIFICANT + 1, 0))
    return int(value) // unit * unit


def node_settings(advice: Advice) -> str:
    """Return what goes into a node's settings, as YAML."""
    return (
        "admission:\n"
        f"  max_connections: {advice.max_connections}  # {advice.max_connections_because}\n"
        f"  connects_per_second: {advice.connects_per_second}\n"
        f"  burst: {advice.burst}\n"
    )


def cluster_spec(advice: Advice) -> str:
    """Return what goes into a RealtimeCluster, as YAML."""
    return (
        "spec:\n"
        "  capacity:\n"
        f"    maxConnections: {advice.max_connections}\n"
        f"    maxDeliveriesPerSecond: {advice.max_deliveries_per_s}\n"
        "  autoscaling:\n"
        f"    targetConnectionPercent: {advice.target_connection_percent}\n"
        f"    targetDeliveriesPerSecond: {advice.target_deliveries_per_s}\n"
        f"    targetLoopBusyPercent: {advice.target_loop_busy_percent}\n"
    )
