"""The status of a cluster as it stands after a decision, and when it is worth writing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from realtime_operator.build.names import CLUSTER
from realtime_operator.crd.status import (
    AutoscalingStatus,
    Condition,
    ConnectionsStatus,
    MessagesStatus,
    MetricsStatus,
    NodeDrainStatus,
    NodeEntry,
    RealtimeClusterStatus,
    RebalanceStatus,
)
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.rebalance import Rebalance
from realtime_operator.decide.scaling_status import describe_scaling
from realtime_operator.decide.snapshot import NodeState, Pod

WRITTEN_EVERY_S: Final = 10.0
"""Numbers alone are not written more often."""

WORTH_WRITING: Final = 0.05
"""Share by which the number of connections has to change to be written."""


def describe(
    fleet: Fleet, conditions: list[Condition], rebalance: Rebalance
) -> RealtimeClusterStatus:
    """The status of a fleet."""
    snapshot, before = fleet.snapshot, fleet.snapshot.status
    pods = [pod for pod in snapshot.pods if not pod.has_failed]
    live, load = fleet.live, fleet.scaling.inputs
    rolled_out = not fleet.old and len(fleet.new_accepting) >= fleet.desired.nodes
    return RealtimeClusterStatus(
        observed_generation=snapshot.generation,
        selector=f"{CLUSTER}={snapshot.owner.name}",
        desired_replicas=fleet.desired.nodes,
        replicas=len(live),
        ready_replicas=sum(1 for pod in live if pod.is_ready),
        accepting_replicas=len(fleet.accepting),
        draining_replicas=len(fleet.leaving),
        updated_replicas=sum(1 for pod in live if pod.revision == fleet.revision),
        revision=fleet.revision,
        current_revision=fleet.revision if rolled_out else before.current_revision,
        connections=_connections(fleet),
        messages=_messages(fleet),
        metrics=MetricsStatus(fresh=load.fresh, stale=load.stale, missing=load.missing),
        autoscaling=describe_scaling(fleet),
        rebalance=RebalanceStatus(
            is_active=rebalance.is_active,
            shedding=rebalance.shedding,
            spread_percent=rebalance.spread_percent,
            reason=rebalance.reason,
        ),
        nodes=[_entry(fleet, pod) for pod in sorted(pods, key=lambda pod: pod.name)],
        conditions=conditions,
    )


def worth_writing(
    written: RealtimeClusterStatus, now_is: RealtimeClusterStatus, *, written_s_ago: float
) -> bool:
    """Whether a status differs enough from what was written last.

    A change of state is written at once; numbers that only count clients at most every ten seconds
    and if they changed by more than a twentieth, or a drain goes on.
    """
    if _without_counts(written) != _without_counts(now_is):
        return True
    if 0 <= written_s_ago < WRITTEN_EVERY_S:  # less: the clock was set back
        return False
    numbers = zip(_numbers(written), _numbers(now_is), strict=True)
    if any(abs(after - before) > max(before, 1) * WORTH_WRITING for before, after in numbers):
        return True
    return _drains(written) != _drains(now_is)


def _connections(fleet: Fleet) -> ConnectionsStatus:
    total = sum(pod.clients or 0 for pod in fleet.snapshot.pods)
    capacity = len(fleet.accepting) * fleet.spec.capacity.max_connections
    used = f"{round(100 * total / capacity)}%" if capacity else ""
    growth = fleet.snapshot.watched.growth_per_s
    return ConnectionsStatus(
        total=total,
        capacity=capacity,
        utilization=used,
        growth_per_second=None if growth is None else round(growth, 1),
    )


def _messages(fleet: Fleet) -> MessagesStatus:
    """What was known last, while nothing is known."""
    is_known = any(pod.load and pod.load.deliveries_per_s is not None for pod in fleet.live)
    if not is_known:
        # An apply that takes the last field of an object away is refused: the server makes it null.
        return fleet.snapshot.status.messages
    return MessagesStatus(deliveries_per_second=round(fleet.scaling.inputs.deliveries_per_s))


def _entry(fleet: Fleet, pod: Pod) -> NodeEntry:
    drain = None
    if pod.drain:
        eta_s = pod.status.eta_s if pod.status else None
        drain = NodeDrainStatus(
            reason=pod.drain.reason,
            remaining=pod.clients or 0,
            eta_seconds=None if eta_s is None else round(eta_s),
        )
    return NodeEntry(
        name=pod.name,
        state=fleet.states[pod.name],
        revision=pod.revision,
        connections=pod.clients,
        drain=drain,
    )


def _without_counts(status: RealtimeClusterStatus) -> object:
    """What has to be told at once: everything but what is counted and the words about it."""
    scaling = status.autoscaling or AutoscalingStatus()
    return status.model_copy(
        update={
            "connections": ConnectionsStatus(),
            "messages": MessagesStatus(),
            "autoscaling": (scaling.mode, scaling.desired, scaling.limited_by),
            "rebalance": status.rebalance.is_active,
            "nodes": [(node.name, node.state, node.revision) for node in status.nodes],
            "conditions": [(each.type, each.status, each.reason) for each in status.conditions],
        }
    ).model_dump(warnings=False)


def _numbers(status: RealtimeClusterStatus) -> tuple[int, ...]:
    """What is counted, and worth a write when it has changed by some share."""
    return (
        status.connections.total,
        status.messages.deliveries_per_second or 0,
        status.autoscaling.raw_desired if status.autoscaling else 0,
        status.rebalance.shedding,
    )


def _drains(status: RealtimeClusterStatus) -> Iterable[object]:
    draining = (NodeState.DRAINING, NodeState.FORCING)
    return [(node.name, node.connections) for node in status.nodes if node.state in draining]
