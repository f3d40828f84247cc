"""Which Pods to create, and which failed ones to clear away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from realtime_operator.build import names
from realtime_operator.build.workload import pod as pod_manifest
from realtime_operator.decide.actions import Action, AdoptPod, CreatePod, DeletePod
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import NodeState
from realtime_operator.decide.wants import Want

CREATES_PER_ROUND: Final = 10
"""Pods created in one round: the scheduler and the registry get a moment between."""

FAILED_KEPT_S: Final = 60.0
"""A Pod that fails is replaced this long after it was made, at the earliest: a Kubernetes node that
fails every Pod at once would otherwise be given Pods in a tight loop."""


def creations(fleet: Fleet, wants: Mapping[str, Want]) -> list[CreatePod]:
    """Pods to create so that as many stay as are wanted, within the surge that is allowed."""
    snapshot, spec = fleet.snapshot, fleet.spec
    if snapshot.deleted_at is not None:
        return []
    staying = sum(1 for pod in fleet.live if pod.name not in wants)
    missing = fleet.desired.nodes - staying - len(fleet.failed)
    if not fleet.goes_for_one_reconnect:
        surge = spec.update.max_concurrent_drains
        if fleet.is_rolling:
            surge = spec.update.max_surge or 1
        allowed = max(fleet.desired.nodes, len(wants)) + surge
        missing = min(missing, allowed - len(fleet.live) - len(fleet.failed))
    count = max(0, min(missing, CREATES_PER_ROUND))
    taken = snapshot.taken_names | snapshot.by_name.keys()
    new = names.pod_names(snapshot.owner.name, fleet.revision, count, taken)
    return [
        CreatePod(name, fleet.revision, pod_manifest(snapshot.owner, spec, fleet.revision, name))
        for name in new
    ]


def kept_from_eviction(fleet: Fleet, created: Sequence[CreatePod]) -> int:
    """How many Pods have to be ready before Kubernetes may evict one that is.

    Every Pod counts, since cordoned ones hold clients and new ones get them next. One that starts
    counts as if it were ready: it may be so before the next round, and would else give leave to
    evict another. Only those that are not about to be ready do not: a broken rollout must not
    forbid the evictions that its old nodes can bear.
    """
    late = {pod.name for pod in fleet.late}
    broken = sum(
        1
        for pod in fleet.live
        if fleet.states[pod.name] == NodeState.PENDING and (pod.problem or pod.name in late)
    )
    return max(fleet.desired.nodes, len(fleet.live) + len(created) - broken)


def housekeeping(fleet: Fleet) -> list[Action]:
    """Take in Pods that nobody controls, and clear away those that will not run again."""
    actions: list[Action] = [AdoptPod(pod.name, pod.uid) for pod in fleet.live if not pod.is_owned]
    actions += [
        DeletePod(pod.name, pod.uid, f"it has failed: {pod.problem or 'Kubernetes gave it up'}")
        for pod in fleet.failed
        if fleet.now >= pod.created_at + FAILED_KEPT_S
    ]
    return actions
