"""The status of a cluster as it stands after a decision, and when it is worth writing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from realtime_operator.build.names import CLUSTER
from realtime_operator.crd.status import (
    Condition,
    ConnectionsStatus,
    MetricsStatus,
    NodeDrainStatus,
    NodeEntry,
    RealtimeClusterStatus,
)
from realtime_operator.decide.drain import LEAVING
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import NodeState, Pod

WRITTEN_EVERY_S: Final = 10.0
"""Numbers alone are not written more often."""

WORTH_WRITING: Final = 0.05
"""Share by which the number of connections has to change to be written."""


def describe(fleet: Fleet, conditions: list[Condition]) -> RealtimeClusterStatus:
    """The status of a fleet."""
    snapshot, before = fleet.snapshot, fleet.snapshot.status
    pods = [pod for pod in snapshot.pods if not pod.has_failed]
    live = fleet.live
    running = [pod for pod in live if pod.is_ready]
    rolled_out = not fleet.old and len(fleet.new_accepting) >= fleet.desired.nodes
    return RealtimeClusterStatus(
        observed_generation=snapshot.generation,
        selector=f"{CLUSTER}={snapshot.owner.name}",
        desired_replicas=fleet.desired.nodes,
        replicas=len(live),
        ready_replicas=len(running),
        accepting_replicas=len(fleet.accepting),
        draining_replicas=len(fleet.in_state(*LEAVING)),
        updated_replicas=sum(1 for pod in live if pod.revision == fleet.revision),
        revision=fleet.revision,
        current_revision=fleet.revision if rolled_out else before.current_revision,
        connections=_connections(fleet),
        metrics=MetricsStatus(
            fresh=sum(1 for pod in running if pod.status),
            missing=sum(1 for pod in running if pod.status is None),
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
    if written_s_ago < WRITTEN_EVERY_S:
        return False
    before, after = written.connections.total, now_is.connections.total
    if abs(after - before) > max(before, 1) * WORTH_WRITING:
        return True
    return _drains(written) != _drains(now_is)


def _connections(fleet: Fleet) -> ConnectionsStatus:
    total = sum(pod.clients or 0 for pod in fleet.snapshot.pods)
    capacity = len(fleet.accepting) * fleet.spec.capacity.max_connections
    used = f"{round(100 * total / capacity)}%" if capacity else ""
    return ConnectionsStatus(total=total, capacity=capacity, utilization=used)


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
    """What has to be told at once: everything but numbers of clients and the words about them."""
    return status.model_copy(
        update={
            "connections": ConnectionsStatus(),
            "nodes": [(node.name, node.state, node.revision) for node in status.nodes],
            "conditions": [(each.type, each.status, each.reason) for each in status.conditions],
        }
    ).model_dump(warnings=False)


def _drains(status: RealtimeClusterStatus) -> Iterable[object]:
    draining = (NodeState.DRAINING, NodeState.FORCING)
    return [(node.name, node.connections) for node in status.nodes if node.state in draining]
