"""What to tell people in Kubernetes Events: once for each thing that happened.

An event's `key` is what makes it one thing: the shell makes the Event's name of it, so that neither
a round that is repeated nor an operator that restarts tells it twice. What lasts is told again
every `REMINDER_S`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from realtime_operator.build.names import CLUSTER, release_command
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.admission import Verdict
from realtime_operator.decide.drain import Signal, Step
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.rebalance import Rebalance
from realtime_operator.decide.rollout import stuck
from realtime_operator.decide.scaling import Limit
from realtime_operator.decide.snapshot import DrainReason, NodeState, Pod
from realtime_operator.decide.wants import Want

REMINDER_S: Final = 600.0

SCALED_AGAIN_S: Final = 60.0
"""The same change of the number of nodes is told again after so long."""

_TOLD_LIMITS: Final = frozenset(
    {Limit.MAX_REPLICAS, Limit.SCALE_UP_STEP, Limit.METRICS, Limit.CAPACITY}
)
"""Limits that somebody may want to do something about; others come with every change."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to the cluster."""

    reason: str
    message: str
    key: str
    """Two events with the same reason and key are one."""
    is_warning: bool = False


def drain_events(pod: Pod, step: Step, want: Want | None) -> Iterator[Event]:
    """What a node's step means for people."""
    key = pod.drain.id if pod.drain else pod.uid
    why = want.message if want else step.reason
    match step.signal:
        case Signal.ADMITTED:
            message = f"{pod.name}: {pod.clients or 0} clients are sent elsewhere: {why}"
            yield Event("DrainStarted", message, key)
        case Signal.DEADLINE:
            message = f"{pod.name}: time is up, {step.reason}: its Pod ends, and they are closed"
            yield Event("DrainForced", message, key, is_warning=True)
        case Signal.EMPTY:
            yield Event("DrainCompleted", f"{pod.name}: {step.reason}", key)
        case Signal.GIVEN_UP:
            yield Event("DrainGivenUp", f"{pod.name}: {step.reason}", key, is_warning=True)
        case Signal.WITHDRAWN:
            yield Event("DrainAborted", f"{pod.name} goes on: {step.reason}", key)
        case _:
            pass


def fleet_events(
    fleet: Fleet,
    before: RealtimeClusterStatus,
    after: RealtimeClusterStatus,
    wants: Mapping[str, Want],
    verdicts: Mapping[str, Verdict],
) -> Iterator[Event]:
    """What the round means for the cluster as a whole."""
    yield from _scaling_events(fleet, before, after)
    yield from _rollout_events(fleet, before, after)
    key, snapshot = _reminder(fleet), fleet.snapshot
    refused = [
        verdict.reason
        for name, verdict in verdicts.items()
        if wants[name].reason == DrainReason.SCALE_DOWN and not verdict.is_granted
    ]
    if refused and NodeState.ACTIVE in fleet.states.values():
        yield Event("ScalingLimited", f"fewer nodes have to wait: {refused[0]}", key)
    for name in fleet.snapshot.strangers:
        message = (
            f"there is a Pod {name} already that does not belong to this cluster: another number is"
            f" taken. Delete it, or give it back its label {CLUSTER} and its owner"
        )
        yield Event("NameTaken", message, name + key, is_warning=True)
    for refusal in fleet.snapshot.refusals:
        yield Event("CreateFailed", refusal, refusal + key, is_warning=True)
    if snapshot.deleted_at is not None and snapshot.has_finalizer and fleet.live:
        message = (
            f"it is kept while {len(fleet.live)} nodes drain. If the operator loses its rights"
            f" meanwhile, nobody lets it go but you: {release_command(snapshot.owner)}"
        )
        yield Event("DeletionWaits", message, "deletion")
    for contested in fleet.snapshot.contested:
        about = contested.partition(":")[0]
        yield Event("ObjectContested", contested, about + key, is_warning=True)
    if fleet.silent and fleet.accepting:
        message = f"{len(fleet.silent)} nodes do not say how they are"
        yield Event("MetricsUnavailable", message, key, is_warning=True)


def rebalance_events(fleet: Fleet, rebalance: Rebalance) -> Iterator[Event]:
    """What moving clients between nodes that stay means for people."""
    if rebalance.is_active and not fleet.snapshot.status.rebalance.is_active:
        message = f"{rebalance.shedding} nodes send clients elsewhere: {rebalance.reason}"
        yield Event("RebalanceStarted", message, _reminder(fleet))


def _scaling_events(
    fleet: Fleet, before: RealtimeClusterStatus, after: RealtimeClusterStatus
) -> Iterator[Event]:
    if fleet.snapshot.deleted_at is not None:
        return
    scaling, spec = fleet.scaling, fleet.spec
    if before.observed_generation and before.desired_replicas != after.desired_replicas:
        grows = before.desired_replicas < after.desired_replicas
        change = f"from {before.desired_replicas} to {after.desired_replicas} nodes"
        key = f"{fleet.snapshot.generation}"
        if scaling.mode != "Disabled":  # it goes up and down while the spec stays
            key += f": {change}@{int(fleet.now // SCALED_AGAIN_S)}"
        yield Event("ScaledUp" if grows else "ScaledDown", f"{change} ({scaling.reason})", key)
    for each in scaling.limits[:1]:
        if each.limit in _TOLD_LIMITS:
            message = f"{scaling.desired} nodes, for now: {each.reason}"
            yield Event("ScalingLimited", message, each.limit + _reminder(fleet))
    usual = type(spec).model_fields["replicas"].default
    if scaling.mode == "Internal" and spec.replicas not in (usual, scaling.desired):
        message = (
            f"spec.replicas is {spec.replicas} and does not count: autoscaling.mode is Internal;"
            " set autoscaling.minReplicas and maxReplicas, or another mode"
        )
        yield Event("ReplicasIgnored", message, f"{spec.replicas}")


def _rollout_events(
    fleet: Fleet, before: RealtimeClusterStatus, after: RealtimeClusterStatus
) -> Iterator[Event]:
    key = f"{after.revision}-{fleet.snapshot.generation}"
    if before.revision and before.revision != after.revision:
        message = f"revision {after.revision} replaces {before.revision}"
        yield Event("RolloutStarted", message, key)
    if before.current_revision and before.current_revision != after.current_revision:
        yield Event("RolloutCompleted", f"all nodes are of revision {after.revision}", key)
    if late := stuck(fleet):
        message = f"{why_stuck(late)}; nodes of the old revision go on serving"
        if not fleet.old:
            message = why_stuck(late)
        yield Event("ProgressDeadlineExceeded", message, key + _reminder(fleet), is_warning=True)


def why_stuck(pods: Sequence[Pod]) -> str:
    """Why Pods do not become ready, by the example of the first."""
    first = pods[0]
    others = f" (and {len(pods) - 1} more)" if len(pods) > 1 else ""
    return f"{first.name}{others} does not become ready: {first.problem or 'no reason is known'}"


def _reminder(fleet: Fleet) -> str:
    return f"@{int(fleet.now // REMINDER_S)}"
