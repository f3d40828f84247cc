"""How a cluster follows its load for hours, on a cluster that is not there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from realtime_operator.decide.actions import CordonNode, DeletePod, ShedNode
from realtime_operator.decide.decision import Plan
from realtime_operator.decide.snapshot import Snapshot
from tests.support.selection import examples
from tests.support.simulated_cluster import Fault, SimulatedCluster, SimulatedNode, make_spec

CAPACITY = 100
WINDOW_S = 120


def autoscaled(clients: int = 0, **changed: Any) -> SimulatedCluster:
    """A cluster whose nodes hold a hundred clients, with a short window of stabilization."""
    autoscaling = {
        "mode": "Internal",
        "maxReplicas": 12,
        "scaleDown": {"stabilizationSeconds": WINDOW_S},
        **changed.pop("autoscaling", {}),
    }
    spec = make_spec(
        **{
            "capacity": {"maxConnections": CAPACITY},
            "rebalance": {"enabled": False},
            "autoscaling": autoscaling,
            **changed,
        }
    )
    cluster = SimulatedCluster(spec, clients=clients)
    cluster.judge = judging(cluster)
    return cluster


def judging(cluster: SimulatedCluster) -> Callable[[Snapshot, Plan], None]:
    """What has to hold of every decision, whatever happens."""
    known: list[int] = []

    def judge(snapshot: Snapshot, plan: Plan) -> None:
        scaling, spec = plan.scaling, snapshot.spec
        rule = spec.autoscaling
        if scaling.mode == "Disabled" or spec.paused or snapshot.deleted_at:
            known.clear()
            return
        before = known[-1] if known else scaling.previous
        assert scaling.previous == before, (
            "the number that was written down is the one gone on from"
        )
        assert scaling.desired <= max(rule.max_replicas, before)
        assert scaling.desired >= min(rule.min_replicas, before + 1)
        if scaling.desired < before:
            _judge_fewer(cluster, snapshot, plan)
        known[:] = [scaling.desired]

    return judge


def _judge_fewer(cluster: SimulatedCluster, snapshot: Snapshot, plan: Plan) -> None:
    """One node goes, on full knowledge, alone, and the others carry all and may lose one."""
    rule = snapshot.spec.autoscaling
    assert plan.scaling.desired == plan.scaling.previous - 1
    for node in cluster.live:
        assert node.answers or not node.is_ready, cluster.describe()
        assert not node.lies, cluster.describe()
    assert not [node for node in cluster.nodes.values() if node.phase != "serving"]
    assert not [node for node in cluster.live if node.to_shed]
    going = {a.name for a in plan.actions if isinstance(a, (CordonNode, DeletePod))}
    left = sum(node.name not in going for node in cluster.accepting) - rule.headroom_nodes
    share = rule.scale_down.max_utilization_percent / 100
    assert cluster.connected <= math.ceil(left * CAPACITY * share), cluster.describe()


def settle(cluster: SimulatedCluster, *, within_s: int = 1200) -> int:
    """Wait until the number of nodes stays for longer than the window; return it."""
    unchanged_s = 0
    for _ in range(within_s):
        before = cluster.desired
        cluster.run(1)
        unchanged_s = unchanged_s + 1 if cluster.desired == before else 0
        if unchanged_s > 3 * WINDOW_S:
            cluster.events.clear()
            return cluster.desired
    raise AssertionError(f"the number of nodes does not settle: {cluster.describe()}")


# --- one thing after another --------------------------------------------------------------------


def test_nodes_come_with_the_clients_and_go_after_them() -> None:
    """Up at once, down one by one after the window, and nobody is left without a place."""
    cluster = autoscaled(clients=100)
    assert settle(cluster) == 3
    cluster.add_clients(300)
    cluster.run_until(lambda: cluster.desired >= 7, within_s=15)
    cluster.run_until(lambda: not cluster.waiting and len(cluster.accepting) >= 7)
    assert not cluster.told("ScaledDown")
    cluster.remove_clients(340)
    gone_at = cluster.now
    cluster.run_until(lambda: bool(cluster.told("ScaledDown")))
    assert cluster.now - gone_at >= WINDOW_S
    assert settle(cluster) == 3
    assert cluster.connected + len(cluster.waiting) == 60


def test_deliveries_ask_for_nodes() -> None:
    """Few clients that are sent very much need as many nodes as it takes to write it."""
    cluster = autoscaled(clients=40, autoscaling={"targetDeliveriesPerSecond": 100})
    assert settle(cluster) == 2
    cluster.deliveries_per_client_s = 10.0
    cluster.run_until(lambda: cluster.desired == 5, within_s=20)
    assert settle(cluster) == 5
    cluster.deliveries_per_client_s = 0.5
    assert settle(cluster) == 2


def test_busy_loops_ask_for_nodes() -> None:
    """Whatever keeps loops busy is carried by more of them."""
    cluster = autoscaled(clients=100)
    settle(cluster)
    cluster.busy_per_client = 0.02
    cluster.run_until(lambda: cluster.desired == 5, within_s=30)


def test_a_mode_that_is_set_later_knows_what_was_needed() -> None:
    """Whoever sets Internal after a peak keeps its nodes for the window, as if it had been set."""
    cluster = autoscaled(clients=300, autoscaling={"mode": "Disabled"}, replicas=7)
    cluster.run(2 * WINDOW_S)
    cluster.remove_clients(250)
    cluster.run(30)
    internal = {"mode": "Internal", "scaleDown": {"stabilizationSeconds": WINDOW_S}}
    cluster.change(autoscaling=internal)
    cluster.run(WINDOW_S - 40)
    assert cluster.desired == 7
    cluster.run_until(lambda: cluster.desired == 6, within_s=60)


@pytest.mark.parametrize("clients", [0, 70, 71, 139, 333])
def test_a_constant_load_keeps_its_number(clients: int) -> None:
    """Once it is found the number does not change any more, nor is anybody moved."""
    cluster = autoscaled(clients=clients)
    number = settle(cluster)
    cluster.reconnects.clear()
    cluster.judge = lambda _snapshot, plan: _expect(plan, number)
    cluster.run(10 * WINDOW_S)
    assert not cluster.reconnects


def _expect(plan: Plan, number: int) -> None:
    assert plan.scaling.desired == number


def test_a_load_that_swings_does_not_swing_the_cluster() -> None:
    """Peaks within the window keep their nodes."""
    cluster = autoscaled(clients=150)
    settle(cluster)
    for _ in range(10):
        cluster.add_clients(150)
        cluster.run(50)
        cluster.remove_clients(150)
        cluster.run(50)
    assert not cluster.told("ScaledDown")
    assert len(cluster.told("ScaledUp")) <= 2


def test_a_flash_crowd_doubles_the_cluster() -> None:
    """Where all nodes are full, the step is not what is waited for."""
    cluster = autoscaled(clients=120, autoscaling={"maxReplicas": 40, "scaleUp": {"maxNodes": 1}})
    before = settle(cluster)
    came_at = cluster.now
    cluster.add_clients(1500)
    cluster.run_until(lambda: cluster.desired >= 2 * before, within_s=15)
    cluster.run_until(lambda: cluster.desired >= 23, within_s=300)
    assert cluster.now - came_at < 200
    assert cluster.told("ScalingLimited")


def test_a_restarted_operator_goes_on_and_watches_anew() -> None:
    """It keeps the number, and takes no node away before it has watched for a whole window."""
    cluster = autoscaled(clients=400)
    number = settle(cluster)
    cluster.remove_clients(390)
    cluster.run(WINDOW_S - 20)
    cluster.restart_operator()
    restarted_at = cluster.now
    cluster.run_until(lambda: cluster.desired < number)
    assert cluster.now - restarted_at >= WINDOW_S


def _hang(node: SimulatedNode) -> None:
    node.answers = False


def _lie(node: SimulatedNode) -> None:
    node.lies = {"num_clients": -5}


def _exaggerate(node: SimulatedNode) -> None:
    node.lies = {"num_clients": 10**9, "loop_busy": 1.0}


def _talk_nonsense(node: SimulatedNode) -> None:
    node.lies = {"deliveries_total": "lots", "loop_busy": float("nan")}


@pytest.mark.parametrize("spoil", [_hang, _lie, _exaggerate, _talk_nonsense])
def test_a_node_that_says_nothing_useful_changes_nothing(
    spoil: Callable[[SimulatedNode], None],
) -> None:
    """The number neither falls nor jumps, however long that lasts; afterwards it goes on."""
    cluster = autoscaled(clients=300)
    number = settle(cluster)
    cluster.remove_clients(280)
    spoil(cluster.live[0])
    for _ in range(100):
        cluster.run(10)
        assert cluster.desired == number
    assert cluster.condition("ScalingActive") == ("False", "MetricsUnavailable")
    assert cluster.condition("ScalingLimited")[1] == "MetricsUnavailable"
    cluster.live[0].answers, cluster.live[0].lies = True, {}
    assert settle(cluster) == 2


def test_a_lost_node_is_replaced_and_not_doubled() -> None:
    """Its clients come back at once, and that is not growth."""
    cluster = autoscaled(clients=280)
    number = settle(cluster)
    cluster.restart_container(cluster.live[0])
    cluster.run(120)
    assert cluster.desired == number


def test_drains_are_not_growth() -> None:
    """A rollout moves everybody once and leaves the number as it was."""
    cluster = autoscaled(clients=280)
    number = settle(cluster)
    cluster.change(image="node:2")
    cluster.judge = lambda _snapshot, plan: _expect(plan, number)
    cluster.run_until(
        lambda: dict(cluster.revisions) == {"node:2": number} and len(cluster.nodes) == number
    )
    assert max(cluster.reconnects.values()) == 1


def test_external_goes_down_one_by_one() -> None:
    """An old file that is applied takes nodes away as far as the load allows, never at once."""
    cluster = autoscaled(clients=200, replicas=6, autoscaling={"mode": "External"})
    assert settle(cluster) == 6
    cluster.change(replicas=2)
    assert settle(cluster) == 5
    assert cluster.condition("ScalingLimited") == ("True", "Capacity")
    cluster.remove_clients(150)
    assert settle(cluster) == 2
    cluster.change(replicas=4)
    cluster.run_until(lambda: len(cluster.accepting) == 4, within_s=30)


def test_modes_hand_over() -> None:
    """Internal begins with what Disabled had; Disabled takes replicas again."""
    cluster = autoscaled(clients=20, replicas=4, autoscaling={"mode": "Disabled"})
    cluster.run_until(lambda: cluster.is_settled)
    modes = {"maxReplicas": 12, "scaleDown": {"stabilizationSeconds": WINDOW_S}}
    cluster.change(autoscaling={**modes, "mode": "Internal"})
    cluster.run(30)
    assert cluster.desired == 4
    assert cluster.told("ReplicasIgnored") == []
    assert settle(cluster) == 2
    cluster.change(autoscaling={**modes, "mode": "Disabled"})
    cluster.run_until(lambda: cluster.is_settled)


@pytest.mark.parametrize("actions", range(0, 16, 3))
def test_an_operator_that_dies_in_every_other_round_scales_down(actions: int) -> None:
    """The number is written down before it is acted upon, so that the next one goes on from it."""
    cluster = autoscaled(clients=10, replicas=6, autoscaling={"mode": "External"})
    settle(cluster)
    cluster.faults = itertools.cycle([Fault(dies_after=actions), Fault()])
    cluster.change(replicas=2)
    cluster.run_until(lambda: len(cluster.nodes) == 2, within_s=2000)


# --- moving clients -----------------------------------------------------------------------------


def rebalanced(**changed: Any) -> SimulatedCluster:
    """A cluster of large nodes, which moves clients fast and soon."""
    rule = {"shedPercentPerMinute": 300, "minNodeAgeSeconds": 10, **changed}
    return autoscaled(
        clients=1200,
        capacity={"maxConnections": 10_000},
        replicas=2,
        rebalance=rule,
        autoscaling={"mode": "External"},
    )


def test_new_nodes_get_their_share() -> None:
    """Clients move within the budget until nobody has many more than the others, and stay then."""
    cluster = rebalanced()
    settle(cluster)
    cluster.change(replicas=4)
    most_at_once = 0
    for _ in range(600):
        before = sum(cluster.sheds.values())
        cluster.run(1)
        most_at_once = max(most_at_once, sum(cluster.sheds.values()) - before)
    counts = [len(node.clients) for node in cluster.live]
    assert len(counts) == 4
    assert max(counts) <= 300 * 1.24
    assert 0 < most_at_once <= 2 * 300 * 3 / 60 + 2
    assert len(cluster.told("RebalanceStarted")) == 1
    assert not cluster.status.rebalance.is_active
    cluster.sheds.clear()
    cluster.run(10 * WINDOW_S)
    assert not cluster.sheds


def test_a_scale_down_ends_a_rebalance() -> None:
    """Only one of the two moves clients at a time."""
    cluster = rebalanced()
    settle(cluster)
    cluster.change(replicas=3)
    cluster.run_until(lambda: bool(cluster.sheds))
    cluster.cordon_machine("a")
    cluster.run(10)
    assert not [node for node in cluster.live if node.to_shed]
    orders = [a for _, a in cluster.actions if isinstance(a, ShedNode)]
    assert orders[-1].count == 0


# --- any story ----------------------------------------------------------------------------------

few = st.frozensets(st.integers(0, 25), max_size=4)
faults = st.builds(
    Fault, dies_after=st.one_of(st.just(10**9), st.integers(0, 25)), lost=few, doubled=few
)


def _each(cluster: SimulatedCluster, spoil: Callable[[SimulatedNode], None]) -> None:
    for node in cluster.live[:1]:
        spoil(node)


def _heal(cluster: SimulatedCluster) -> None:
    for node in cluster.nodes.values():
        node.answers, node.lies = True, {}


EVENTS: dict[str, Callable[[SimulatedCluster], None]] = {
    "a crowd": lambda cluster: cluster.add_clients(250),
    "a few": lambda cluster: cluster.add_clients(30),
    "many go": lambda cluster: cluster.remove_clients(250),
    "some go": lambda cluster: cluster.remove_clients(30),
    "silence": lambda cluster: _each(cluster, _hang),
    "lies": lambda cluster: _each(cluster, _lie),
    "exaggeration": lambda cluster: _each(cluster, _exaggerate),
    "healing": _heal,
    "a restart": lambda cluster: cluster.restart_container(cluster.live[0]),
    "an eviction": lambda cluster: cluster.evict(cluster.live[-1]),
    "a new operator": lambda cluster: cluster.restart_operator(),
    "an image": lambda cluster: cluster.change(image=f"node:{cluster.generation}"),
    "a cordon": lambda cluster: cluster.cordon_machine("a"),
    "an uncordon": lambda cluster: cluster.cordon_machine("a", is_cordoned=False),
    "an old file": lambda cluster: cluster.change(replicas=2),
    "more replicas": lambda cluster: cluster.change(replicas=8),
}


stories = st.lists(
    st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(1, 200), faults), max_size=10
)


@pytest.mark.parametrize("mode", ["Internal", "External"])
@given(story=stories)
@settings(max_examples=examples(20), phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_any_story_keeps_the_rules(mode: str, story: list[tuple[str, int, Fault]]) -> None:
    """Every decision keeps what `judging` says; no more drain than may; it settles at the end."""
    cluster = autoscaled(
        clients=100,
        rebalance={"minNodeAgeSeconds": 10, "shedPercentPerMinute": 600},
        autoscaling={"mode": mode},
    )
    cluster.run(60)

    def watch() -> None:
        ordered = [node for node in cluster.draining if node.deleted_until is None]
        assert len(ordered) <= cluster.spec.update.max_concurrent_drains, cluster.describe()

    cluster.watch = watch
    for event, seconds, fault in story:
        if cluster.live:
            EVENTS[event](cluster)
        cluster.faults = iter([fault])
        cluster.run(seconds)
    _heal(cluster)
    cluster.cordon_machine("a", is_cordoned=False)
    settle(cluster, within_s=6000)
    assert not cluster.waiting
    need = math.ceil(cluster.connected / 70) + 1
    if mode == "Internal":
        assert cluster.desired >= min(12, max(2, need))
