"""Who has to go, and why: before anybody asks whether it may go now.

A node may have several reasons; the most urgent counts. All follow from the snapshot alone, so a
reason that has gone (replicas raised, image set back, `kubectl uncordon`) is withdrawn by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.replicas import victims_first
from realtime_operator.decide.snapshot import DrainReason, NodeState, Pod

REFUSES_S: Final = 120.0
"""After how long a node that should serve and is shut counts as lost, as far as it was watched."""


class Want(NamedTuple):
    """Why a node has to go."""

    reason: DrainReason
    message: str


def who_has_to_go(fleet: Fleet) -> Mapping[str, Want]:
    """Every node that has to go, by the name of its Pod; deleted Pods need nobody's wish."""
    wants: dict[str, Want] = {}
    for pod in fleet.live:
        if want := _own_reason(fleet, pod):
            wants[pod.name] = want
    for pod in _surplus(fleet, wants):
        message = f"{fleet.desired.nodes} nodes are wanted ({fleet.desired.reason})"
        wants[pod.name] = Want(DrainReason.SCALE_DOWN, message)
    return wants


def _own_reason(fleet: Fleet, pod: Pod) -> Want | None:
    snapshot = fleet.snapshot
    if snapshot.is_on_cordoned_node(pod):
        message = f"Kubernetes node {pod.kubernetes_node} is cordoned"
        return Want(DrainReason.NODE_CORDONED, message)
    if snapshot.deleted_at is not None:
        return Want(DrainReason.DELETE, fleet.desired.reason)
    if _refuses_clients(fleet, pod):
        return Want(DrainReason.REFUSES, "it lets nobody in, whatever it is told")
    if pod.revision != fleet.revision:
        return Want(DrainReason.ROLLOUT, f"revision {fleet.revision} replaces {pod.revision}")
    return None


def _refuses_clients(fleet: Fleet, pod: Pod) -> bool:
    """Whether a node that should serve is shut, and stays so although each round tells it to open.

    Its key may be lost, or its process may be about to end without its Pod.
    """
    is_shut = pod.status is None or pod.status.drain_phase != "serving"
    if pod.drain:
        return is_shut and pod.drain.reason == DrainReason.REFUSES
    if not is_shut or pod.status is None or fleet.states[pod.name] != NodeState.ACTIVE:
        return False
    told_for_s = min(pod.status.phase_s, fleet.now - pod.reopened_at)
    return told_for_s >= REFUSES_S


def _surplus(fleet: Fleet, wants: Mapping[str, Want]) -> list[Pod]:
    """Nodes of the newest revision above the desired number, those missed least.

    While a rollout goes on only those nobody was sent to yet: the others' clients have just moved.
    """
    staying = [
        pod
        for pod in fleet.live
        if pod.name not in wants and fleet.states[pod.name] != NodeState.DRAINED
    ]
    count = len(staying) - fleet.desired.nodes
    if count <= 0:
        return []
    surplus = victims_first(fleet.snapshot, staying, fleet.revision)[:count]
    if fleet.is_rolling:
        early = (NodeState.PENDING, NodeState.WARMING)
        surplus = [pod for pod in surplus if fleet.states[pod.name] in early]
    return surplus
