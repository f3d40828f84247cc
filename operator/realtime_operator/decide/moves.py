"""From a step of a node's life to the actions that carry it out, and keep it carried out.

A step that changes the state writes it down first, in the Pod's annotations, and tells the node
after that: if the operator dies in between, the next round finds the state and a node that does not
match it, and tells the node again. So does a lost call, and a node somebody else has told something
else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from realtime_operator.build import names
from realtime_operator.decide.actions import (
    AbortDrain,
    Action,
    CordonNode,
    DeletePod,
    DrainNode,
    PatchPod,
)
from realtime_operator.decide.drain import Signal, Step
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import NO_RECORD, DrainRecord, NodeState, Pod
from realtime_operator.decide.wants import Want

PACE: Final = 0.9
"""Share of the window in which a node plans to be done: its gaps are drawn, and some take
longer."""

BUDGET_SPARE: Final = 1.25
"""How much longer than the budget needs a drain may take before clients are forced."""

NODE_PATIENCE_S: Final = 10.0
"""How much later a node forces by itself: an operator that is there decides, and tells people."""

UNTOLD_DEADLINE_S: Final = 86_400.0
"""What a node is told where nobody is to be forced (deadlinePolicy Wait)."""


def moves(fleet: Fleet, pod: Pod, step: Step, want: Want | None) -> list[Action]:
    """What to do about one node in this round."""
    actions: list[Action] = []
    if patch := _patch(fleet, pod, step, want):
        actions.append(patch)
    actions += _telling(fleet, pod, step)
    if step.after == NodeState.DRAINED:
        actions.append(DeletePod(pod.name, pod.uid, step.reason or "it is drained"))
    return actions


def _patch(fleet: Fleet, pod: Pod, step: Step, want: Want | None) -> PatchPod | None:
    """What has to change in the Pod's labels and annotations."""
    annotations: dict[str, str | None] = {}
    match step.after:
        case NodeState.ACTIVE:
            if pod.drain:
                annotations |= NO_RECORD
                annotations[names.REOPENED_AT] = f"{fleet.now:.3f}"
            if pod.active_since is None:
                annotations[names.ACTIVE_SINCE] = f"{fleet.now:.3f}"
        case NodeState.CORDONED | NodeState.DRAINING | NodeState.FORCING:
            annotations = _changed_record(fleet, pod, step, want)
        case NodeState.DRAINED if pod.drain and pod.drain.state != NodeState.DRAINED:
            annotations = {names.DRAIN_STATE: NodeState.DRAINED}
        case _:
            pass
    labels: dict[str, str | None] = {}
    accepting = step.after == NodeState.ACTIVE and not lost_its_backplane(fleet, pod)
    if accepting != pod.is_accepting and step.after != NodeState.TERMINATING:
        labels = {names.ACCEPTING: "true" if accepting else "false"}
    if not labels and not annotations:
        return None
    return PatchPod(pod.name, pod.uid, labels=labels, annotations=annotations)


def _changed_record(fleet: Fleet, pod: Pod, step: Step, want: Want | None) -> dict[str, str | None]:
    """The record as it has to be; empty if the Pod has it."""
    old = pod.drain
    if old is None:
        assert want is not None, "nobody is cordoned who does not have to go"
        record = DrainRecord(
            id=f"{pod.uid[:8]}-{int(fleet.now)}",
            state=step.after,
            reason=want.reason,
            boot_id=pod.status.boot_id if pod.status else "",
            cordoned_at=fleet.now,
        )
        return record.annotations()
    deadline = old.deadline
    if step.signal in (Signal.ADMITTED, Signal.EXTENDED):
        deadline = fleet.now + window_s(fleet, pod)
    changed = DrainRecord(
        id=old.id,
        state=step.after,
        reason=want.reason if want else old.reason,
        boot_id=old.boot_id or (pod.status.boot_id if pod.status else ""),
        cordoned_at=old.cordoned_at,
        deadline=deadline,
    )
    if changed == old:
        return {}
    before = old.annotations()
    return {key: value for key, value in changed.annotations().items() if value != before[key]}


def window_s(fleet: Fleet, pod: Pod) -> float:
    """How long a node's drain may take: as asked for, or longer where the budget needs it.

    The budget is everybody's: who drains beside others gets a part of it.
    """
    needed = (pod.clients or 0) * fleet.drains_at_once / fleet.budget_per_s * BUDGET_SPARE
    return max(float(fleet.spec.drain.window_seconds), needed)


def lost_its_backplane(fleet: Fleet, pod: Pod) -> bool:
    """Whether a node cannot reach Redis while others can: it is of no use to new clients.

    If none can, all keep what they have: an empty Service helps nobody.
    """
    if pod.status is None or pod.status.backplane_available:
        return False
    return fleet.has_backplane


def _telling(fleet: Fleet, pod: Pod, step: Step) -> Iterator[Action]:
    """Tell the node, if what it says of itself is not what it should be."""
    phase = pod.status.drain_phase if pod.status else ""
    reason = step.reason or (pod.drain.reason if pod.drain else "")
    if not phase and step.signal is None:
        return
    match step.after:
        case NodeState.ACTIVE if phase not in ("", "serving"):
            yield AbortDrain(pod.name, pod.ip, reason or "it is wanted")
        case NodeState.CORDONED if phase in ("", "serving"):
            yield CordonNode(pod.name, pod.ip, reason)
        case NodeState.DRAINING if (
            phase in ("", "serving", "cordoned") or step.signal == Signal.EXTENDED
        ):
            yield _drain_node(fleet, pod, step, reason)
        case NodeState.FORCING if phase not in ("forcing", "drained"):
            yield DrainNode(pod.name, pod.ip, reason, float(fleet.budget_per_s), 0.0, 0.0)
        case _:
            pass


def _drain_node(fleet: Fleet, pod: Pod, step: Step, reason: str) -> DrainNode:
    fresh = step.signal in (Signal.ADMITTED, Signal.EXTENDED) or not pod.drain
    left = window_s(fleet, pod)
    if not fresh and pod.drain and pod.drain.deadline is not None:
        left = max(0.0, pod.drain.deadline - fleet.now)
    waits = fleet.spec.drain.deadline_policy == "Wait"
    return DrainNode(
        pod.name,
        pod.ip,
        reason,
        rate_per_s=float(fleet.budget_per_s),
        window_s=left * PACE,
        deadline_s=UNTOLD_DEADLINE_S if waits else left + NODE_PATIENCE_S,
        shut_for_s=fleet.now - pod.drain.cordoned_at if pod.drain else 0.0,
    )
