"""Who sends clients elsewhere so that nodes that were added get some, and when nobody does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from realtime_operator.crd.status import RealtimeClusterStatus, RebalanceStatus
from realtime_operator.decide.actions import CordonNode, ShedNode
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.snapshot import (
    DrainReason,
    KubernetesNode,
    NodeState,
    Pod,
    Watched,
)
from tests.unit.operator.fleets import (
    NOW,
    OLD,
    leaving,
    loaded,
    make_pod,
    make_snapshot,
    make_status,
)


def planned(*pods: Pod, rebalance: dict[str, Any] | None = None, **changed: Any) -> Plan:
    """The plan of a cluster that is as large as it should be."""
    spec = {"replicas": len(pods), "rebalance": rebalance or {}, **changed.pop("spec", {})}
    return decide(make_snapshot(*pods, spec=spec, **changed), NOW)


def sheds(plan: Plan) -> dict[str, ShedNode]:
    """What nodes are told to shed, by name."""
    return {action.name: action for action in plan.actions if isinstance(action, ShedNode)}


def shedding(name: str, clients: int, remaining: int = 100, **changed: Any) -> Pod:
    """A node that sheds already."""
    return loaded(name, clients, status=make_status(clients, shed_remaining=remaining), **changed)


HOT = [loaded("hot", 6000), loaded("warm", 3000), loaded("new", 0)]


def test_a_node_with_many_more_than_the_others_sheds() -> None:
    """To half of the threshold, at a share of the average each minute; the rest serve on."""
    plan = planned(*HOT)
    order = sheds(plan)["hot"]
    assert (order.count, order.rate_per_s) == (2700, 5.0)
    assert len(sheds(plan)) == 1
    assert plan.status.rebalance.is_active
    assert plan.status.rebalance.spread_percent == 100
    assert [event.reason for event in plan.events].count("RebalanceStarted") == 1
    assert plan.wake_after_s == 5
    begun = RealtimeClusterStatus(rebalance=RebalanceStatus(is_active=True))
    again = planned(*HOT, status=begun)
    assert "RebalanceStarted" not in [event.reason for event in again.events]


def test_all_sheds_together_stay_within_the_budget() -> None:
    """However many nodes shed, and however fast each were to."""
    pods = [loaded(f"hot-{n}", 9000) for n in range(4)] + [loaded(f"new-{n}") for n in range(4)]
    budget = {"reconnectBudget": {"connectionsPerSecondPerNode": 2}}
    plan = planned(*pods, rebalance={"shedPercentPerMinute": 600}, spec=budget)
    assert len(sheds(plan)) == 4
    assert sum(order.rate_per_s for order in sheds(plan).values()) == 16
    two = [shedding("hot-0", 9000), shedding("hot-1", 9000), *pods[2:]]
    plan = planned(*two, rebalance={"shedPercentPerMinute": 600}, spec=budget)
    assert {order.rate_per_s for order in sheds(plan).values()} == {4}
    assert plan.status.rebalance.shedding == 4


def test_within_the_threshold_nobody_sheds() -> None:
    """A fifth above the average by default."""
    assert not sheds(planned(loaded("a", 1199), loaded("b", 1000), loaded("c", 800)))
    assert sheds(planned(loaded("a", 1201), loaded("b", 1000), loaded("c", 799)))
    wide = {"thresholdPercent": 50}
    assert not sheds(planned(loaded("a", 1201), loaded("b", 999), loaded("c", 800), rebalance=wide))


def test_small_numbers_differ_by_chance() -> None:
    """A few clients more than few are no reason to disturb anybody."""
    assert not sheds(planned(loaded("a", 30), loaded("b", 12), loaded("c", 6)))
    assert not sheds(planned(loaded("a", 0), loaded("b", 0)))


def test_a_node_that_sheds_is_not_told_again() -> None:
    """It is called off when it has no more than the average, and rounds follow quickly."""
    plan = planned(shedding("hot", 5000), loaded("a", 2000), loaded("b", 2000))
    assert not sheds(plan)
    assert plan.status.rebalance.shedding == 1
    assert plan.wake_after_s == 5
    plan = planned(shedding("was-hot", 2000), loaded("a", 2500), loaded("b", 2500))
    assert sheds(plan)["was-hot"].count == 0
    assert not plan.status.rebalance.is_active


def test_a_node_to_which_its_clients_come_back_is_left_alone() -> None:
    """A load balancer that sticks to its nodes is stronger; others that are as full still shed."""
    plan = planned(*HOT, watched=Watched(shed_in_vain=frozenset({"hot"})))
    assert not sheds(plan)
    assert "came back to it" in plan.status.rebalance.reason
    assert not plan.status.rebalance.is_active
    pods = [loaded("hotter", 7000), *HOT, loaded("newer", 0)]
    plan = planned(*pods, watched=Watched(shed_in_vain=frozenset({"hot"})))
    assert set(sheds(plan)) == {"hotter"}


MACHINES = {"m": KubernetesNode("m", is_cordoned=True)}

AGAINST: dict[str, tuple[list[Pod], dict[str, Any], str]] = {
    "a silent node": ([make_pod("silent", status=None)], {}, "does not say"),
    "a rollout": ([loaded("old", revision=OLD)], {}, "old revision"),
    "a drain": (
        [leaving("going", NodeState.DRAINING, reason=DrainReason.SCALE_DOWN)],
        {},
        "on its way out",
    ),
    "an eviction": ([loaded("evicted", 5, deleted_until=NOW + 60)], {}, "on its way out"),
    "a node that ends and is not heard": (
        [make_pod("unheard", status=None, deleted_until=NOW + 60)],
        {},
        "does not say",
    ),
    "a scale-down": ([loaded("too-many", 3000)], {"spec": {"replicas": 3}}, "on its way out"),
    "a cordoned machine": (
        [loaded("on-cordoned", 3000, kubernetes_node="m")],
        {"kubernetes_nodes": MACHINES},
        "on its way out",
    ),
}


@pytest.mark.parametrize("against", AGAINST)
def test_nobody_sheds_while(against: str) -> None:
    """Nothing is begun, and what goes on is called off."""
    others, changed, why = AGAINST[against]
    plan = planned(*HOT, *others, **changed)
    assert not sheds(plan)
    assert why in plan.status.rebalance.reason
    begun = [shedding("hot", 6000), *HOT[1:]]
    plan = planned(*begun, *others, **changed)
    assert sheds(plan)["hot"].count == 0
    assert not plan.status.rebalance.is_active


def test_a_node_that_is_shut_is_not_told_to_end_its_shed() -> None:
    """It does so by itself, and refuses the order from then on; the others are told."""
    pods = [shedding("going", 10), shedding("hot", 6000), loaded("a", 3000), loaded("b", 3000)]
    plan = planned(*pods, spec={"replicas": 3})
    assert [action.name for action in plan.actions if isinstance(action, CordonNode)] == ["going"]
    assert set(sheds(plan)) == {"hot"}


def test_a_node_that_is_gone_with_its_machine_is_not_waited_for() -> None:
    """Its Pod stays in its grace for minutes, and nobody drains there."""
    lost = make_pod("lost", status=None, is_ready=False, deleted_until=NOW + 60)
    assert sheds(planned(*HOT, lost, spec={"replicas": 3}))
    over = make_pod("over", status=None, deleted_until=NOW)
    assert sheds(planned(*HOT, over, spec={"replicas": 3}))


def test_nobody_sheds_when_there_is_nowhere_to_go() -> None:
    """A node alone keeps its clients, and so does one that goes with its cluster."""
    assert "no other node" in planned(loaded("alone", 900)).status.rebalance.reason
    drains = {"drain": {"onDelete": "Drain"}}
    plan = planned(*HOT, spec=drains, deleted_at=NOW - 1, has_finalizer=True)
    assert "deleted" in plan.status.rebalance.reason


def test_young_nodes_get_new_clients_first() -> None:
    """Nothing is begun while one has taken clients for a short time; what was begun goes on."""
    young = replace(HOT[2], active_since=NOW - 119)
    plan = planned(HOT[0], HOT[1], young)
    assert not sheds(plan)
    assert "less than 120 s" in plan.status.rebalance.reason
    found_early = loaded("found", 10, active_since=None)
    assert not sheds(planned(HOT[0], HOT[1], found_early))
    plan = planned(shedding("hot", 6000), HOT[1], young)
    assert not sheds(plan)
    assert plan.status.rebalance.shedding == 1


def test_it_can_be_switched_off() -> None:
    """Then a shed that somebody else has asked for is left alone, too."""
    plan = planned(*HOT, rebalance={"enabled": False})
    assert not sheds(plan)
    plan = planned(shedding("a", 100), loaded("b", 5000), rebalance={"enabled": False})
    assert not sheds(plan)
    assert plan.status.rebalance.shedding == 1
