"""How much a cluster has to carry, and how many nodes that takes.

    demand = connections + growth · lead
    nodes  = max(demand / (maxConnections · target), deliveries / target, busy / target) + headroom

Deliveries are what nodes write to sockets, not what they read of channels: that would grow with
every node that is added, and call for another. Draining nodes' clients are part of the demand:
they are about to come to the others. A node that does not answer has what it had last, until its
Pod should have ended; counted as nothing, it would make the cluster look idle. What of that seems
to be on other nodes by now is not counted twice, where it is about more nodes; a scale-down reckons
with all of it.

While we drain nodes, loops are busy with connects, and some nodes are there twice, each with what
an idle loop does. Neither is load, so that work calls for nodes only beyond
capacity.softLimitPercent then, and until it is out of the averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Final, NamedTuple

from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.decide.nodes import Nodes
from realtime_operator.decide.scaling import Inputs
from realtime_operator.decide.snapshot import NodeLoad, Pod

LONGEST_LEAD_S: Final = 300.0
"""Growth is not looked ahead for longer, however long nodes took to start."""

START_QUANTILE: Final = 0.95

DELIVERIES_SHARE: Final = 0.7
"""Of capacity.maxDeliveriesPerSecond, where no target was set; `make capacity` advises it too."""

AVERAGED_WITHIN: Final = 3
"""Of metrics.intervalSeconds: after so many, what a loop did at a time is out of its average. That
may reach back for nearly two, and counts until there is the next."""

_ROUNDING: Final = 1e-9


class Need(NamedTuple):
    """How many nodes a load takes, and what of it takes them."""

    nodes: int
    reason: str


def measured(nodes: Nodes) -> tuple[Inputs, Inputs]:
    """The load of all nodes together as it seems to be, and the most that it may be.

    The latter is as if nobody had left a silent node; what came from it may be counted twice.
    """
    loads = [pod.load for pod in nodes.snapshot.pods if pod.load and _carries(pod, nodes.now)]
    seems = _together(nodes, loads, [1.0 - load.elsewhere for load in loads])
    if not any(load.elsewhere for load in loads):
        return seems, seems
    return seems, _together(nodes, loads, [1.0] * len(loads))


def _together(nodes: Nodes, loads: Sequence[NodeLoad], there: Sequence[float]) -> Inputs:
    """The sum of loads, of each the share that is `there`."""
    stale_after_s = nodes.spec.autoscaling.metrics.stale_after_seconds
    stale = sum(
        1 for pod in nodes.silent if pod.load and nodes.now - pod.load.seen_at <= stale_after_s
    )
    connections = round(sum(map(mul, there, [load.clients for load in loads])))
    growth, lead_s = nodes.snapshot.watched.growth_per_s, _lead_s(nodes)
    return Inputs(
        nodes=len(nodes.accepting),
        connections=connections,
        growth_per_s=growth,
        lead_s=lead_s,
        demand=connections + _coming(nodes.spec, connections, growth or 0.0, lead_s),
        deliveries_per_s=sum(map(mul, there, [load.deliveries_per_s or 0.0 for load in loads])),
        busy=sum(map(mul, there, [load.busy or 0.0 for load in loads])),
        is_moving=nodes.is_rolling or bool(nodes.moving) or _has_drained(nodes),
        fresh=len(nodes.serving) - len(nodes.silent),
        stale=stale,
        missing=len(nodes.silent) - stale,
    )


def _has_drained(nodes: Nodes) -> bool:
    """Whether what drains made loops do is still in their averages."""
    drained_at = nodes.snapshot.watched.drained_at
    within_s = AVERAGED_WITHIN * nodes.spec.autoscaling.metrics.interval_seconds
    return drained_at is not None and nodes.now < drained_at + within_s


def _carries(pod: Pod, now: float) -> bool:
    """Whether what is known of a Pod's load still counts.

    A Pod of a machine that is lost stays Terminating for as long as the machine stays so: once its
    grace is over, its clients are counted where they went.
    """
    if pod.has_failed or pod.problem:
        return False
    return pod.status is not None or now < (pod.deleted_until or math.inf)


def to_carry(spec: RealtimeClusterSpec, load: Inputs) -> Need:
    """How many nodes carry a load at the targets, those of headroomNodes included."""
    return _need(spec, load, spec.autoscaling.target_connection_percent)


def to_shrink(spec: RealtimeClusterSpec, load: Inputs) -> Need:
    """How many nodes would be enough at scaleDown.maxUtilizationPercent: never fewer."""
    return _need(spec, load, spec.autoscaling.scale_down.max_utilization_percent)


def target_deliveries(spec: RealtimeClusterSpec) -> float | None:
    """Deliveries per second that one node is to carry; None: they do not count."""
    most = spec.capacity.max_deliveries_per_second
    return spec.autoscaling.target_deliveries_per_second or (most and DELIVERIES_SHARE * most)


def _need(spec: RealtimeClusterSpec, load: Inputs, percent: int) -> Need:
    scaling, most = spec.autoscaling, spec.capacity.max_connections
    strictness = scaling.target_connection_percent / percent
    needs = [
        Need(
            _whole(load.demand * 100 / (most * percent)),
            f"{load.demand:.0f} connections to reckon with, at {percent} % of {most} a node",
        )
    ]
    if target := target_deliveries(spec):
        target /= strictness
        needs.append(
            Need(
                _whole(load.deliveries_per_s / target),
                f"{load.deliveries_per_s:.0f} deliveries/s, at {target:.0f} a node",
            )
        )
    busy = scaling.target_loop_busy_percent / 100 / strictness
    if load.is_moving and percent == scaling.target_connection_percent:
        busy = max(busy, spec.capacity.soft_limit_percent / 100)
    needs.append(
        Need(
            _whole(load.busy / busy),
            f"{load.busy:.2f} busy event loops, at {busy:.2f} a node",
        )
    )
    first = max(needs, key=lambda need: need.nodes)  # of equals the first
    spare = scaling.headroom_nodes
    return Need(first.nodes + spare, f"{first.reason}, and {spare} to spare")


def _coming(
    spec: RealtimeClusterSpec, connections: int, growth_per_s: float, lead_s: float
) -> float:
    """Clients that will have come by the time that another node could serve them.

    No more than there are already, or than fit one node: a line that is drawn through seconds is
    not believed further.
    """
    if not spec.autoscaling.prediction.enabled:
        return 0.0
    most = max(connections, spec.capacity.max_connections)
    return min(max(0.0, growth_per_s) * lead_s, float(most))


def _lead_s(nodes: Nodes) -> float:
    """How long another node takes until it accepts clients: as most of these took, and a round."""
    scaling = nodes.spec.autoscaling
    horizon_s = float(scaling.prediction.horizon_seconds)
    took = sorted(
        pod.active_since - pod.created_at for pod in nodes.live if pod.active_since is not None
    )
    if not took:
        return horizon_s
    start_s = took[math.ceil(START_QUANTILE * len(took)) - 1] + scaling.metrics.interval_seconds
    return max(horizon_s, min(start_s, LONGEST_LEAD_S))


def _whole(nodes: float) -> int:
    return math.ceil(nodes - _ROUNDING)
