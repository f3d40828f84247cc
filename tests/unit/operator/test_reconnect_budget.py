"""No more clients are sent away in a second than the reconnect budget allows, whatever happens.

Who keeps the budget: nodes pay for each close of a drain or a shed with a permit, and all permits
come out of one budget in Redis (ADR 0012), here `simulate.budget`. The rates that the operator
tells are ceilings beneath it: two drains may each be told the whole budget, and sheds that were
begun one after another more than it together. So closes are counted where permits are spent, and
the operator is held to what the permits rest on:

- nodes know the budget that the spec has;
- no ceiling of a drain is above it, nor those of sheds that begin together, with their part left
  to those under way;
- a drain gets the time that the budget needs for its clients, beside the other drains;
- nobody sheds beside a drain: a shed is called off when a node is on its way out;
- nobody is forced before time is up. Who is forced pays with no permit: a deadline has passed, or
  the grace of a Pod that somebody deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from realtime_operator.build import names
from realtime_operator.decide.actions import CordonNode, DrainNode, PatchPod, SetBudget, ShedNode
from realtime_operator.decide.decision import Plan
from realtime_operator.decide.snapshot import NodeState, Pod, Snapshot
from tests.support.selection import examples
from tests.support.simulated_cluster import Fault, SimulatedCluster, make_spec

ROUNDING_PER_S = 0.001
"""Rates are told with three digits after the point."""
CLIENTS = 600


def budgeted(mode: str) -> SimulatedCluster:
    """Full nodes shed to new ones; that and drains would like to be faster than the budget."""
    spec = make_spec(
        replicas=2,
        capacity={"maxConnections": 300},
        drain={"propagationSeconds": 3, "windowSeconds": 10},
        reconnectBudget={"connectionsPerSecondPerNode": 2},
        rebalance={"minNodeAgeSeconds": 5, "shedPercentPerMinute": 600},
        autoscaling={
            "mode": mode,
            "maxReplicas": 8,
            "scaleDown": {"stabilizationSeconds": 20},
            "metrics": {"intervalSeconds": 5},
        },
    )
    cluster = SimulatedCluster(spec, clients=CLIENTS)
    cluster.run(10)
    cluster.judge = judging(cluster)
    cluster.watch = counting(cluster)
    cluster.change(replicas=5)
    cluster.run_until(lambda: any(node.to_shed for node in cluster.live))
    return cluster


# --- what holds in every second -----------------------------------------------------------------


def counting(cluster: SimulatedCluster) -> Callable[[], None]:
    """Closes within any span of time are what the budget allows in it, and a client a node."""
    owed = 0.0

    def watch() -> None:
        nonlocal owed
        owed = max(0.0, owed + cluster.closed - cluster.budget * max(1, cluster.letting_in))
        assert owed <= max(1, len(cluster.nodes)), cluster.describe()

    return watch


def sheds_beside_drains(cluster: SimulatedCluster) -> bool:
    """Whether nodes drain by order while others shed."""
    return bool(cluster.draining) and any(node.to_shed for node in cluster.live)


# --- what holds of every decision ---------------------------------------------------------------


def judging(cluster: SimulatedCluster) -> Callable[[Snapshot, Plan], None]:
    """What the operator may ask for."""

    def judge(snapshot: Snapshot, plan: Plan) -> None:
        per_node = snapshot.spec.reconnect_budget.connections_per_second_per_node
        accepting = [pod for pod in snapshot.pods if accepts(pod)]
        budget_per_s = float(per_node * max(1, len(accepting)))
        _judge_knowledge(accepting, plan, per_node)
        _judge_sheds(snapshot, plan, budget_per_s)
        _judge_drains(snapshot, plan, budget_per_s, cluster.now)

    return judge


def accepts(pod: Pod) -> bool:
    """Whether new clients come to a node, as far as is known."""
    serves = pod.status is None or pod.status.accepting
    has_served = pod.active_since is not None or bool(pod.clients)
    is_here = has_served and pod.drain is None and not pod.is_deleted
    return is_here and pod.is_ready and pod.is_accepting and serves


def of(plan: Plan, kind: type[Any]) -> list[Any]:
    """The actions of a kind."""
    return [action for action in plan.actions if isinstance(action, kind)]


def _judge_knowledge(accepting: Iterable[Pod], plan: Plan, per_node: int) -> None:
    """Nodes that know another budget than the spec has are told this one."""
    known = {pod.status.budget_per_s for pod in accepting if pod.status}
    told = {each.connections_per_second_per_node for each in of(plan, SetBudget)}
    assert told == ({per_node} if known - {per_node, None} else set())


def _judge_sheds(snapshot: Snapshot, plan: Plan, budget_per_s: float) -> None:
    """Those that begin leave those under way their part, and nobody sheds beside a drain."""
    orders: dict[str, ShedNode] = {each.name: each for each in of(plan, ShedNode)}
    begun = [each for each in orders.values() if each.count]
    for order in begun:
        share = budget_per_s / plan.status.rebalance.shedding
        assert order.rate_per_s <= share + ROUNDING_PER_S
    cordoned = {each.name for each in of(plan, CordonNode)}
    if cordoned or of(plan, DrainNode) or any(is_going(pod) for pod in snapshot.pods):
        assert not begun
        still = {
            pod.name
            for pod in snapshot.pods
            if pod.status and pod.status.shed_remaining is not None and not is_going(pod)
        }
        assert still - cordoned <= orders.keys(), "it is told to end its shed"


def is_going(pod: Pod) -> bool:
    """Whether a node is on its way out, and clients may be on it."""
    if pod.is_deleted:
        return pod.is_ready if pod.clients is None else pod.clients > 0
    return pod.drain is not None


def _judge_drains(snapshot: Snapshot, plan: Plan, budget_per_s: float, now: float) -> None:
    """Within the budget, in the time that it takes, and by force when that is over."""
    for order in of(plan, DrainNode):
        assert order.rate_per_s <= budget_per_s
        if not order.deadline_s:
            pod = snapshot.by_name[order.name]
            assert pod.drain
            assert pod.status is None or pod.drain.deadline is not None
            by_itself = pod.status is not None and pod.status.drain_phase == "forcing"
            assert by_itself or now >= (pod.drain.deadline or now)
    moving = {pod.uid for pod in snapshot.pods if drains_by_order(pod)}
    admitted = {
        each.uid: float(each.annotations[names.DRAIN_DEADLINE]) - now
        for each in of(plan, PatchPod)
        if each.annotations.get(names.DRAIN_DEADLINE)
        and each.annotations.get(names.DRAIN_STATE) != NodeState.FORCING
    }
    at_once = len(moving | admitted.keys())
    for pod in snapshot.pods:
        if left_s := admitted.get(pod.uid):
            assert left_s * budget_per_s >= (pod.clients or 0) * at_once


def drains_by_order(pod: Pod) -> bool:
    """Whether the operator lets a node send its clients away."""
    is_moving = pod.drain is not None and pod.drain.state in (
        NodeState.DRAINING,
        NodeState.FORCING,
    )
    return is_moving and not pod.is_deleted


# --- stories ------------------------------------------------------------------------------------


def _each(cluster: SimulatedCluster, **changed: Any) -> None:
    for node in cluster.live[:1]:
        for name, value in changed.items():
            setattr(node, name, value)


def _heal(cluster: SimulatedCluster) -> None:
    for node in cluster.nodes.values():
        node.answers, node.hears, node.slowness = True, True, 1.0


def _restart(cluster: SimulatedCluster) -> None:
    for node in cluster.live[:1]:
        cluster.restart_container(node)


def _evict(cluster: SimulatedCluster) -> None:
    for node in cluster.live[-1:]:
        cluster.evict(node)


def _set_budget(per_node: int) -> Callable[[SimulatedCluster], None]:
    budget = {"connectionsPerSecondPerNode": per_node}
    return lambda cluster: cluster.change(reconnectBudget=budget)


QUIET_EVENTS: dict[str, Callable[[SimulatedCluster], None]] = {
    "a crowd": lambda cluster: cluster.add_clients(400),
    "a few": lambda cluster: cluster.add_clients(40),
    "many go": lambda cluster: cluster.remove_clients(400),
    "some go": lambda cluster: cluster.remove_clients(40),
    "more replicas": lambda cluster: cluster.change(replicas=7),
    "fewer replicas": lambda cluster: cluster.change(replicas=3),
    "an image": lambda cluster: cluster.change(image=f"node:{cluster.generation}"),
    "a new operator": lambda cluster: cluster.restart_operator(),
    "a cordon": lambda cluster: cluster.cordon_machine("a"),
    "an uncordon": lambda cluster: cluster.cordon_machine("a", is_cordoned=False),
    "a small budget": _set_budget(1),
    "a large budget": _set_budget(8),
    "two drains": lambda cluster: cluster.change(
        update={"maxConcurrentDrains": 2, "minReadySeconds": 2}
    ),
}
"""After these every order reaches its node."""

EVENTS: dict[str, Callable[[SimulatedCluster], None]] = {
    **QUIET_EVENTS,
    "silence": lambda cluster: _each(cluster, answers=False),
    "a lost key": lambda cluster: _each(cluster, hears=False),
    "a slow node": lambda cluster: _each(cluster, slowness=5.0),
    "healing": _heal,
    "a restart": _restart,
    "an eviction": _evict,
    "patience": lambda cluster: cluster.change(
        drain={"deadlinePolicy": "Wait", "propagationSeconds": 0, "windowSeconds": 10}
    ),
}

few = st.frozensets(st.integers(0, 25), max_size=4)
faults = st.builds(
    Fault, dies_after=st.one_of(st.just(10**9), st.integers(0, 25)), lost=few, doubled=few
)
seconds = st.integers(1, 60)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.parametrize("mode", ["Internal", "External"])
@given(
    story=st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), seconds, faults), max_size=8),
)
@settings(max_examples=examples(25), phases=PHASES)
def test_closes_stay_within_the_budget(mode: str, story: list[tuple[str, int, Fault]]) -> None:
    """Drains and sheds together, in every second and every decision of any story."""
    cluster = budgeted(mode)
    for event, length, fault in story:
        EVENTS[event](cluster)
        cluster.faults = iter([fault])
        cluster.run(length)
    _heal(cluster)
    cluster.run(60)


@given(story=st.lists(st.tuples(st.sampled_from(sorted(QUIET_EVENTS)), seconds), max_size=8))
@settings(max_examples=examples(25), phases=PHASES)
def test_nobody_sheds_while_others_are_drained(story: list[tuple[str, int]]) -> None:
    """Where orders arrive, sheds have ended before the first client of a drain goes."""
    cluster = budgeted("External")
    count = cluster.watch

    def watch() -> None:
        count()
        assert not sheds_beside_drains(cluster), cluster.describe()

    cluster.watch = watch
    for event, length in story:
        QUIET_EVENTS[event](cluster)
        cluster.run(length)
