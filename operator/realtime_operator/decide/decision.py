"""One round: a snapshot and the time go in, a plan comes out.

    snapshot → fleet, with the number of nodes (`autoscaling`) → who has to go (`wants`)
             → what the rollout permits (`rollout`) → who may be cordoned, drained, goes back
             (`admission`), who moves clients and stays (`rebalance`) → a step for each node
             (`drain`) → actions (`moves`, `supply`, the objects of `build`), status, conditions,
             events

Nothing is remembered between rounds. What has to outlive one stands in the Pods' annotations, and a
round that was carried out in part, or twice, or not at all, is followed by one that goes on from
what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from realtime_operator.build.children import children
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide import admission
from realtime_operator.decide.actions import (
    Action,
    ApplyChild,
    DeletePolicy,
    DeleteSettings,
    SetBudget,
    SetFinalizer,
)
from realtime_operator.decide.admission import Verdict
from realtime_operator.decide.conditions import conditions
from realtime_operator.decide.drain import (
    FORCING_GRACE_S,
    QUIET_S,
    Step,
    Wish,
    step,
)
from realtime_operator.decide.events import (
    Event,
    drain_events,
    fleet_events,
    rebalance_events,
)
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.moves import moves
from realtime_operator.decide.rebalance import plan_rebalance
from realtime_operator.decide.rollout import Rollout, plan_rollout
from realtime_operator.decide.scaling import Scaling
from realtime_operator.decide.snapshot import NodeState, Pod, Snapshot
from realtime_operator.decide.status import describe
from realtime_operator.decide.supply import creations, housekeeping, kept_from_eviction
from realtime_operator.decide.wants import Want, who_has_to_go

BUSY_ROUND_S: Final = 5.0
"""Time to the next round while nodes come or go."""
QUIET_ROUND_S: Final = 15.0
"""Time to the next round while nothing happens."""
SHORTEST_ROUND_S: Final = 1.0

_UNWANTED_AWAY: Final = Wish(reason="nothing speaks against it any more")

_TRANSIENT: Final = frozenset(NodeState) - {NodeState.ACTIVE}


@dataclass(frozen=True)
class Plan:
    """What to do now, what to say, and when to look again."""

    actions: tuple[Action, ...]
    status: RealtimeClusterStatus
    events: tuple[Event, ...]
    wake_after_s: float
    scaling: Scaling
    """How the number of nodes was found."""


def decide(snapshot: Snapshot, now: float) -> Plan:
    """Decide one round."""
    fleet = Fleet(snapshot, now)
    wants = who_has_to_go(fleet)
    rollout = plan_rollout(fleet)
    granted = {
        **admission.admit_cordons(fleet, wants, rollout),
        **admission.admit_drains(fleet, wants, rollout),
    }
    steps = {
        pod.name: step(pod, wish, fleet.spec, now)
        for pod, wish in _wishes(fleet, wants, rollout, granted)
    }
    rebalance = plan_rebalance(fleet, wants)
    status = describe(fleet, conditions(fleet, wants, rollout, granted), rebalance)
    events = [
        event
        for pod in fleet.live
        if steps[pod.name].signal
        for event in drain_events(pod, steps[pod.name], wants.get(pod.name))
    ]
    events += fleet_events(fleet, snapshot.status, status, wants, granted)
    events += rebalance_events(fleet, rebalance)
    is_idle = _is_idle(snapshot)
    # A node that is shut in this round ends its shed by itself, and would refuse to hear of it.
    orders = [each for each in rebalance.orders if steps[each.name].after == NodeState.ACTIVE]
    actions = () if is_idle else (*_actions(fleet, wants, steps), *orders)
    return Plan(
        actions=actions,
        status=status,
        events=() if is_idle else tuple(events),
        wake_after_s=_wake_after_s(fleet, steps, is_rebalancing=rebalance.is_active),
        scaling=fleet.scaling,
    )


def _wishes(
    fleet: Fleet, wants: Mapping[str, Want], rollout: Rollout, granted: Mapping[str, Verdict]
) -> Iterator[tuple[Pod, Wish]]:
    """What is wanted of each live node in this round."""
    back = admission.returned(fleet, wants, rollout)
    for pod in fleet.live:
        want, verdict = wants.get(pod.name), granted.get(pod.name)
        if pod.name in back:
            yield pod, Wish(reason=back[pod.name])
        elif want is None:
            yield pod, _UNWANTED_AWAY
        else:
            may = verdict is not None and verdict.is_granted
            yield pod, Wish(is_wanted_away=True, may_cordon=may, may_drain=may, reason=want.message)


def _is_idle(snapshot: Snapshot) -> bool:
    """Whether nothing is to be done: in a pause, or if Kubernetes deletes it all by itself.

    A deleted cluster that is kept for its drain is drained, paused or not: nobody else lets it go.
    """
    if snapshot.deleted_at is not None:
        return not snapshot.has_finalizer
    return snapshot.spec.paused


def _actions(
    fleet: Fleet, wants: Mapping[str, Want], steps: Mapping[str, Step]
) -> Iterator[Action]:
    snapshot = fleet.snapshot
    yield from _finalizer(fleet)
    created = creations(fleet, wants)
    if snapshot.deleted_at is None:
        for manifest in children(
            snapshot.owner,
            fleet.spec,
            fleet.revision,
            pods=kept_from_eviction(fleet, created),
            operator_namespace=snapshot.operator_namespace,
            grace_s=_least_grace_s(fleet),
        ):
            yield ApplyChild(manifest)
    yield from housekeeping(fleet)
    yield from created
    for pod in fleet.live:
        yield from moves(fleet, pod, steps[pod.name], wants.get(pod.name))
    yield from _budgets(fleet)
    needed = {fleet.revision} | {pod.revision for pod in snapshot.pods}
    for revision in sorted(snapshot.settings_revisions - needed):
        yield DeleteSettings(revision)
    if not fleet.spec.network_policy.enabled:
        for name, uid in snapshot.policies.items():
            yield DeletePolicy(name, uid)


def _least_grace_s(fleet: Fleet) -> int | None:
    """The least grace period of the Pods that read the settings of the spec's revision."""
    of_pods = [pod.grace_s for pod in fleet.live if pod.revision == fleet.revision]
    return min((grace_s for grace_s in of_pods if grace_s is not None), default=None)


def _finalizer(fleet: Fleet) -> Iterator[SetFinalizer]:
    """Keep the resource until its nodes are drained, where that is asked for; never for ever.

    With its namespace it goes at once: Kubernetes deletes its Pods, which drain in their grace, and
    the operator's rights there, without which nobody would take the finalizer away.
    """
    snapshot = fleet.snapshot
    if snapshot.deleted_at is None:
        wanted = fleet.spec.drain.on_delete == "Drain"
    else:
        kept_until = snapshot.deleted_at + deletion_patience_s(fleet.spec)
        wanted = bool(fleet.live) and fleet.now < kept_until and not snapshot.ends_with_namespace
    if wanted != snapshot.has_finalizer:
        yield SetFinalizer(present=wanted)


def deletion_patience_s(spec: RealtimeClusterSpec) -> float:
    """How long after its deletion a RealtimeCluster is kept for its drain, at most."""
    return spec.drain.propagation_seconds + spec.drain.window_seconds + 2 * FORCING_GRACE_S


def _budgets(fleet: Fleet) -> Iterator[SetBudget]:
    """Tell one node the budget if it knows another: they share it through Redis."""
    per_node = fleet.spec.reconnect_budget.connections_per_second_per_node
    for pod in fleet.accepting:
        known = pod.status.budget_per_s if pod.status else None
        if known is not None and known != per_node:
            yield SetBudget(pod.name, pod.ip, per_node)
            return


def _wake_after_s(fleet: Fleet, steps: Mapping[str, Step], *, is_rebalancing: bool) -> float:
    """When something may change that no event tells: a wait that ends, or just the next round."""
    states = {each.after for each in steps.values()}
    is_busy = bool(states & _TRANSIENT) or len(fleet.live) != fleet.desired.nodes or is_rebalancing
    instants = [fleet.now + (BUSY_ROUND_S if is_busy else QUIET_ROUND_S)]
    if fleet.scaling.mode != "Disabled":
        instants.append(fleet.now + fleet.spec.autoscaling.metrics.interval_seconds)
    for pod in fleet.live:
        if fleet.states[pod.name] == NodeState.WARMING:
            instants.append(pod.ready_changed_at + fleet.spec.update.min_ready_seconds)
        if pod.drain:
            propagated = pod.drain.cordoned_at + fleet.spec.drain.propagation_seconds
            instants += [propagated, propagated + QUIET_S, propagated + 2 * QUIET_S]
            instants += [pod.drain.deadline] if pod.drain.deadline else []
    coming = [instant for instant in instants if instant > fleet.now]
    return max(SHORTEST_ROUND_S, min(coming) - fleet.now)
