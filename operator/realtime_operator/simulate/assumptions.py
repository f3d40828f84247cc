"""What the simulation takes for granted about clients, nodes and Kubernetes: one place, with units.

docs/simulation.md has the same as a table, and why each is so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec

DEFAULT_CONNECTS_PER_S: Final = 500.0
DEFAULT_BURST: Final = 500.0
DEFAULT_WAIT_S: Final = 3.0
"""The node's own defaults of `admission`."""


@dataclass(frozen=True)
class Assumptions:
    """Everything that is not decided by the operator, the spec or the scenario."""

    stay_s: float = 3600.0
    """Mean time that a client stays, exponential: others come in its place."""
    least_wait_s: float = 0.5
    most_wait_s: float = 20.0
    """The SDKs' bounds of the wait before a client tries again, full jitter between."""
    pod_start_s: float = 8.0
    """Median time from a Pod's creation to its readiness, on a machine that is there."""
    pod_start_sigma: float = 0.55
    """Of its logarithm: 95 % are ready within two and a half times the median."""
    routing_lag_s: float = 5.0
    """After which load balancers know that a node accepts, or does not any more."""
    noticed_after_s: tuple[float, float] = (10.0, 35.0)
    """When clients notice that their node's machine is gone: a ping does not come. Uniform."""
    unreachable_after_s: float = 50.0
    """When Kubernetes calls the Pods of a machine that is gone not ready."""
    tolerated_s: float = 30.0
    """How much later it deletes them: the operator's Pods say so."""
    tolerated_by_default_s: float = 300.0
    """The same for a Deployment's Pods."""
    round_s: float = 0.2
    round_s_per_pod: float = 0.001
    round_s_per_call: float = 0.01
    """What a round of the operator takes: listing Pods and asking nodes, then a call to the API
    server for each change of a Pod, one after the other."""
    deliveries_per_client_s: float = 0.1
    """Publications that a client is sent per second."""
    idle_busy: float = 0.02
    full_busy: float = 0.80
    """Share of its time that a node's loop works with no client, and with maxConnections."""
    connect_cost_s: float = 0.0005
    """What a connect takes of the loop."""
    pass_s: float = 0.001
    """What the loop does in one go: the service time of the latency proxy."""

    def busy(self, filled: float, connects_per_s: float) -> float:
        """Share of its time that a node's loop works, above 1 if it cannot keep up.

        `filled` is the share of maxConnections that is connected.
        """
        standing = self.idle_busy + filled * (self.full_busy - self.idle_busy)
        return standing + connects_per_s * self.connect_cost_s


DEFAULTS: Final = Assumptions()


@dataclass(frozen=True)
class Limits:
    """What a node of a spec lets in: its door."""

    max_connections: int
    connects_per_s: float
    burst: float
    most_queued: int
    """Who may wait at the door: more would wait for too long."""


def limits_of(spec: RealtimeClusterSpec) -> Limits:
    """The door of a spec's nodes, as `spec.node.admission` says or the node's defaults."""
    given = spec.node.get("admission")
    said = given if isinstance(given, dict) else {}
    most = _number(said.get("max_connections"), spec.capacity.max_connections)
    per_s = _number(said.get("connects_per_second"), DEFAULT_CONNECTS_PER_S) or 1e9  # 0: no limit
    return Limits(
        max_connections=int(min(most or 1e9, spec.capacity.max_connections)),
        connects_per_s=per_s,
        burst=_number(said.get("burst"), DEFAULT_BURST),
        most_queued=int(min(5000.0, per_s * _number(said.get("wait"), DEFAULT_WAIT_S))),
    )


def _number(value: object, default: float) -> float:
    """A number of the settings, or a duration in seconds; the default if it is neither."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
            head = value.removesuffix(unit)
            if head != value and head.replace(".", "", 1).isdigit():
                return float(head) * factor
    return default
