"""Who of those that have to go may be cordoned now, and who of the cordoned may be drained now.

A cordon costs a node that accepts: enough have to stay. A drain costs reconnects: few at a time,
and only while the others have room. Both go through the candidates in one order, the most urgent
first and then who is missed least, so that the same snapshot always admits the same nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from realtime_operator.decide.drain import has_propagated
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.replicas import victims_first
from realtime_operator.decide.rollout import Rollout, needed_to_go_on
from realtime_operator.decide.snapshot import DrainReason, NodeState, Pod
from realtime_operator.decide.wants import Want

Wants = Mapping[str, Want]


class Verdict(NamedTuple):
    """Whether something may be done to a node now, and why or why not."""

    is_granted: bool
    reason: str


def admit_cordons(fleet: Fleet, wants: Wants, rollout: Rollout) -> Mapping[str, Verdict]:
    """A verdict for every active node that has to go, by name."""
    verdicts: dict[str, Verdict] = {}
    accepting = len(fleet.accepting)
    leaving = sum(1 for pod in fleet.live if fleet.is_leaving(pod))
    for pod in _in_order(fleet, wants, NodeState.ACTIVE):
        verdict = _may_cordon(fleet, pod, wants[pod.name], rollout, accepting, leaving)
        verdicts[pod.name] = verdict
        if verdict.is_granted:
            accepting -= fleet.accepts(pod)
            leaving += 1
    return verdicts


def admit_drains(fleet: Fleet, wants: Wants, rollout: Rollout) -> Mapping[str, Verdict]:
    """A verdict for every cordoned node that has to go, by name."""
    verdicts: dict[str, Verdict] = {}
    slots = fleet.spec.update.max_concurrent_drains - len(fleet.moving)
    coming = 0
    for pod in _in_order(fleet, wants, NodeState.CORDONED):
        verdict = _may_drain(fleet, pod, wants[pod.name], rollout, slots, coming)
        verdicts[pod.name] = verdict
        if verdict.is_granted:
            slots -= 1
            coming += pod.clients or 0
    return verdicts


def returned(fleet: Fleet, wants: Wants, rollout: Rollout) -> Mapping[str, str]:
    """Who has to go and was cordoned, and goes back to work for now, and why; by name.

    The old nodes of a rollout whose new ones fail, and as many as the floor lacks.
    """
    back: dict[str, str] = {}
    cordoned = fleet.in_state(NodeState.CORDONED)
    if rollout.is_withdrawn:
        for pod in [*cordoned, *fleet.in_state(NodeState.DRAINING)]:
            want = wants.get(pod.name)
            if want and want.reason == DrainReason.ROLLOUT:
                back[pod.name] = rollout.reason
    least = needed_to_go_on(fleet) if fleet.goes_for_one_reconnect else fleet.floor
    missing = least - len(fleet.accepting) - len(back)
    useful = [
        pod
        for pod in cordoned
        if pod.is_ready
        and pod.name in wants
        and wants[pod.name].reason != DrainReason.REFUSES
        and pod.name not in back
    ]
    if missing > 0 and not rollout.is_held:
        reason = f"{len(fleet.accepting)} nodes accept clients, {least} have to"
        for pod in victims_first(fleet.snapshot, useful, fleet.revision)[-missing:]:
            back[pod.name] = reason
    return back


def _in_order(fleet: Fleet, wants: Wants, state: NodeState) -> list[Pod]:
    candidates = [pod for pod in fleet.in_state(state) if pod.name in wants]
    by_loss = victims_first(fleet.snapshot, candidates, fleet.revision)
    return sorted(by_loss, key=lambda pod: wants[pod.name].reason.rank)


def _may_cordon(  # noqa: PLR0913, PLR0917 - what was granted before counts
    fleet: Fleet, pod: Pod, want: Want, rollout: Rollout, accepting: int, leaving: int
) -> Verdict:
    if want.reason == DrainReason.DELETE:
        return Verdict(is_granted=True, reason=want.message)
    if rollout.may_cordon and fleet.goes_for_one_reconnect and pod.revision != fleet.revision:
        return Verdict(is_granted=True, reason=rollout.reason)
    if want.reason == DrainReason.ROLLOUT and not rollout.may_cordon:
        return Verdict(is_granted=False, reason=rollout.reason)
    if want.reason == DrainReason.SCALE_DOWN:
        refusal = _against_scale_down(fleet, pod, leaving)
        if refusal:
            return Verdict(is_granted=False, reason=refusal)
    # A cordoned machine is in no hurry: Kubernetes evicts by itself what has to go at once.
    least = fleet.desired.nodes if want.reason == DrainReason.NODE_CORDONED else fleet.floor
    left = accepting - fleet.accepts(pod)
    if fleet.accepts(pod) and left < least:
        reason = f"{left} nodes would accept clients, {least} have to"
        return Verdict(is_granted=False, reason=reason)
    return Verdict(is_granted=True, reason=want.message)


def _against_scale_down(fleet: Fleet, pod: Pod, leaving: int) -> str:
    """Why there may be no fewer nodes now: one goes at a time, and on knowledge only."""
    if leaving >= fleet.spec.update.max_concurrent_drains:
        return f"{leaving} nodes are on their way out already"
    if refusal := _without_knowledge(fleet):
        return refusal
    if not fleet.desired.nodes:
        return ""
    others = [each for each in fleet.accepting if each.name != pod.name]
    room = fleet.room(others, percent=fleet.spec.capacity.soft_limit_percent)
    if room < (pod.clients or 0):
        return f"the others have room for {max(0, room)} clients, {pod.name} has {pod.clients}"
    return ""


def _without_knowledge(fleet: Fleet) -> str:
    """Why nobody may be moved who could as well stay: a node does not say how full it is."""
    if unknown := [each.name for each in fleet.live if each.is_ready and each.status is None]:
        return f"how many clients {', '.join(unknown)} has is not known"
    return ""


def _may_drain(  # noqa: PLR0913, PLR0917 - what was granted before counts
    fleet: Fleet, pod: Pod, want: Want, rollout: Rollout, slots: int, coming: int
) -> Verdict:
    if want.reason == DrainReason.DELETE:
        return Verdict(is_granted=True, reason=want.message)
    if refusal := _against_moving(fleet, want, rollout):
        return Verdict(is_granted=False, reason=refusal)
    if not has_propagated(pod, fleet.spec, fleet.now):
        return Verdict(is_granted=False, reason="clients may still come to it")
    if slots <= 0:
        reason = f"{len(fleet.moving)} nodes drain, update.maxConcurrentDrains permits no more"
        return Verdict(is_granted=False, reason=reason)
    targets = fleet.new_accepting if fleet.goes_for_one_reconnect else fleet.accepting
    room = fleet.room(targets) - coming
    if fleet.desired.nodes and room < (pod.clients or 0):
        reason = f"the others have room for {max(0, room)} clients, it has {pod.clients}"
        return Verdict(is_granted=False, reason=reason)
    return Verdict(is_granted=True, reason=want.message)


def _against_moving(fleet: Fleet, want: Want, rollout: Rollout) -> str:
    """Why this is no time to drain anybody for such a reason."""
    if want.reason == DrainReason.ROLLOUT and not rollout.may_drain:
        return rollout.reason
    return _without_knowledge(fleet) if want.reason == DrainReason.SCALE_DOWN else ""
