"""How a new revision replaces an old one, so that a client reconnects once, or with few more nodes.

OneReconnect: all new nodes are started; once enough of them accept and there is room for the
fullest old one, **all** old nodes are cordoned at once, keeping their clients, and only then they
are drained, one after another. Whoever is sent away meets nodes that stay: nobody moves twice.

Frugal: some more nodes than wanted; as soon as new ones accept, as many old ones are cordoned as
the floor of accepting nodes permits, and drained one after another.

If the new nodes fail, what was not drained goes back to work at once: an old node that serves is
better than a new one that does not. A broken image is never ready, and so costs nobody anything.

A revision is not blamed for what its nodes do not cause. After an outage of the API server, say,
Kubernetes calls all machines, and so all nodes, not ready until their kubelets are heard again. The
rollout is held then: nothing is cordoned, drained or taken back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import NodeState, Pod

DEAF_SHUT_S: Final = 120.0
"""How long, beyond `drain.propagationSeconds`, an old node has to be out of the Service that goes
on letting in whoever comes: load balancers slower than was thought have followed by then."""

DEAF_QUIET_S: Final = 60.0
"""For how long nobody may have come to it."""

DOUBTED_S: Final = 30.0
"""For so long a new node that Kubernetes calls not ready, and that says itself that it serves, does
not count as failed: kubelets are heard again one after another."""


class Rollout(NamedTuple):
    """What a rollout permits in this round, and why not more."""

    may_cordon: bool
    """Whether old nodes may be cordoned: all in OneReconnect, down to the floor in Frugal."""
    may_drain: bool
    """Whether cordoned old nodes may be drained."""
    is_withdrawn: bool
    """Whether old nodes that were not drained go back to work."""
    reason: str
    is_held: bool = False
    """Whether it waits for Kubernetes to call nodes ready again that have not failed."""


def plan_rollout(fleet: Fleet) -> Rollout:
    """What the rollout of a fleet permits; one that has nothing old permits nothing."""
    if not fleet.is_rolling:
        return Rollout(may_cordon=False, may_drain=False, is_withdrawn=False, reason="")
    needed = needed_to_go_on(fleet)
    ready = len(fleet.new_accepting)
    if ready < needed:
        reason = f"{ready} of the {needed} new nodes that are needed accept clients"
        if excuse := _excuse(fleet, needed):
            reason += f": {excuse}"
            return Rollout(
                may_cordon=False, may_drain=False, is_withdrawn=False, reason=reason, is_held=True
            )
        return Rollout(may_cordon=False, may_drain=False, is_withdrawn=True, reason=reason)
    if not fleet.goes_for_one_reconnect:
        reason = f"{ready} new nodes accept clients"
        return Rollout(may_cordon=True, may_drain=True, is_withdrawn=False, reason=reason)
    return _all_at_once(fleet, ready)


def needed_to_go_on(fleet: Fleet) -> int:
    """How many new nodes have to accept clients.

    For one reconnect as many as there have to be at all, before the first old one is shut. After
    that more may be wanted, and nodes that are added start while old ones drain: what counts is
    that those go on serving that have served, or else every scale-up would open all old ones.
    """
    if not fleet.goes_for_one_reconnect:
        return min(1, fleet.desired.nodes)
    if not _has_begun(fleet):
        return fleet.floor
    served = [
        pod for pod in fleet.live if pod.revision == fleet.revision and pod.active_since is not None
    ]
    may_lack = fleet.spec.disruption_budget.max_unavailable
    return min(fleet.floor, max(1, len(served) - may_lack))


def _excuse(fleet: Fleet, needed: int) -> str:
    """Why it is not the new revision's doing that its nodes are not ready; empty if it may be."""
    new = [
        pod
        for pod in fleet.live
        if pod.revision == fleet.revision
        and pod.active_since is not None
        and not fleet.is_leaving(pod)
    ]
    unready = [pod for pod in new if not pod.is_ready and not pod.problem]
    if len(fleet.new_accepting) + len(unready) < needed:
        return ""  # others have failed
    served = [pod for pod in fleet.old if pod.active_since is not None]
    if served and not any(pod.is_ready for pod in served):
        return "Kubernetes calls no node of either revision ready"
    doubted = [pod for pod in unready if _serves_by_its_word(fleet, pod)]
    if len(fleet.new_accepting) + len(doubted) < needed:
        return ""
    return "the others say that they serve, and Kubernetes has just called them not ready"


def _serves_by_its_word(fleet: Fleet, pod: Pod) -> bool:
    """Whether a node that is not ready says that it serves, and may be ready again soon."""
    is_new = fleet.now < pod.ready_changed_at + DOUBTED_S
    status = pod.status
    return is_new and status is not None and status.accepting and status.backplane_available


def _has_begun(fleet: Fleet) -> bool:
    """Whether old nodes were shut already."""
    return any(fleet.is_leaving(pod) for pod in fleet.old)


def _all_at_once(fleet: Fleet, ready: int) -> Rollout:
    largest = max((pod.clients or 0 for pod in fleet.old), default=0)
    room = fleet.room(fleet.new_accepting)
    if fleet.desired.nodes and room < largest and not _has_begun(fleet):
        reason = f"the new nodes have room for {room} clients, an old one has {largest}"
        return Rollout(may_cordon=False, may_drain=False, is_withdrawn=False, reason=reason)
    if open_still := [pod.name for pod in fleet.old if not _is_shut(fleet, pod)]:
        reason = f"clients may still come to {', '.join(open_still)}"
        return Rollout(may_cordon=True, may_drain=False, is_withdrawn=False, reason=reason)
    reason = f"{ready} new nodes accept clients, no old one does"
    return Rollout(may_cordon=True, may_drain=True, is_withdrawn=False, reason=reason)


def _is_shut(fleet: Fleet, pod: Pod) -> bool:
    """Whether nobody comes to an old node any more: it says that it is shut, or was never open.

    One that takes no orders (another Secret may have replaced the one with its key) goes on letting
    clients in. It left the Service all the same: it counts as shut when nobody has come for long.
    """
    if fleet.states[pod.name] in (NodeState.PENDING, NodeState.WARMING):
        return True
    if not fleet.is_leaving(pod):
        return False
    if pod.status is None or not pod.status.accepting:
        return True
    waits_s = fleet.spec.drain.propagation_seconds + DEAF_SHUT_S
    is_long_out = pod.drain is not None and fleet.now >= pod.drain.cordoned_at + waits_s
    return is_long_out and pod.status.quiet_s >= DEAF_QUIET_S


def stuck(fleet: Fleet) -> list[Pod]:
    """New Pods that should have been ready for long: the deadline of progress has passed."""
    return [
        pod for pod in fleet.late if pod.revision == fleet.revision and not fleet.is_leaving(pod)
    ]
