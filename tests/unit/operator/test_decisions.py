"""Single rules of a decision, each on a snapshot made for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from realtime_operator.apply.drain_client import request_of
from realtime_operator.build import names
from realtime_operator.build.node_settings import FILE
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.actions import (
    AbortDrain,
    AdoptPod,
    ApplyChild,
    CordonNode,
    CreatePod,
    DeletePod,
    DeleteSettings,
    DrainNode,
    PatchPod,
    SetBudget,
    SetFinalizer,
)
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.drain import FORCING_GRACE_S
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.moves import NODE_PATIENCE_S
from realtime_operator.decide.replicas import victims_first
from realtime_operator.decide.rollout import DEAF_QUIET_S, DEAF_SHUT_S, DOUBTED_S, plan_rollout
from realtime_operator.decide.snapshot import (
    DrainReason,
    KubernetesNode,
    NodeState,
    Pod,
    Snapshot,
)
from realtime_operator.decide.status import worth_writing
from realtime_operator.decide.wants import REFUSES_S
from tests.unit.operator.fleets import (
    NEW,
    NOW,
    OLD,
    SPEC,
    leaving,
    make_pod,
    make_record,
    make_snapshot,
    make_status,
)

ONE = {"replicas": 1}
TWO = {"replicas": 2}
FULL = {"maxConnections": 100, "softLimitPercent": 90}


def planned(snapshot: Snapshot) -> Plan:
    """The plan of a snapshot."""
    return decide(snapshot, NOW)


def of(plan: Plan, kind: type[object]) -> list[Any]:
    """The actions of a kind."""
    return [action for action in plan.actions if isinstance(action, kind)]


def condition(plan: Plan, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(each for each in plan.status.conditions if each.type == kind)
    return found.status, found.reason, found.message


def told(plan: Plan) -> list[str]:
    """The reasons of all events."""
    return [event.reason for event in plan.events]


# --- who goes first -----------------------------------------------------------------------------


def test_who_is_missed_least() -> None:
    """Leaving, unready, old, on a cordoned machine, few clients, full zone, young, in order."""
    machines = {
        "a1": KubernetesNode("a1", zone="a"),
        "a2": KubernetesNode("a2", zone="a", is_cordoned=True),
        "b1": KubernetesNode("b1", zone="b"),
    }
    pods = [
        make_pod("elder", kubernetes_node="b1", created_at=NOW - 900),
        make_pod("in-a-full-zone", kubernetes_node="a1", created_at=NOW - 900),
        make_pod("few", kubernetes_node="b1", status=make_status(1)),
        make_pod("many", kubernetes_node="b1", status=make_status(9)),
        make_pod("on-cordoned", kubernetes_node="a2", status=make_status(9)),
        make_pod("old", kubernetes_node="b1", revision=OLD, status=make_status(9)),
        make_pod("unready", kubernetes_node="b1", is_ready=False, status=make_status(9)),
        leaving("leaving", NodeState.DRAINING, clients=9, kubernetes_node="b1"),
        make_pod("younger", kubernetes_node="b1", created_at=NOW - 90),
        make_pod("nowhere", kubernetes_node="gone", status=make_status(99)),
    ]
    order = victims_first(make_snapshot(*pods, kubernetes_nodes=machines), pods, NEW)
    assert [pod.name for pod in order] == [
        "leaving",
        "unready",
        "old",
        "on-cordoned",
        "younger",
        "elder",
        "in-a-full-zone",
        "few",
        "many",
        "nowhere",
    ]


# --- scaling down -------------------------------------------------------------------------------


def test_a_scale_down_waits_for_what_nodes_say() -> None:
    """A ready node that does not answer could have any number of clients: nobody is taken out."""
    plan = planned(make_snapshot(make_pod("a"), make_pod("b", status=None), spec=ONE))
    assert not of(plan, CordonNode)
    assert condition(plan, "ScalingLimited")[:2] == ("True", "ScaleDownWaits")
    assert condition(plan, "MetricsAvailable")[:2] == ("False", "NodesSilent")
    assert {"ScalingLimited", "MetricsUnavailable"} <= set(told(plan))


def test_a_scale_down_under_way_waits_for_what_nodes_say() -> None:
    """A cordoned node keeps its clients while another one, or itself, does not say how full it is.

    Whoever answers has room; the silent one would have to be taken for empty.
    """
    victim = leaving("a", NodeState.CORDONED, clients=50, reason=DrainReason.SCALE_DOWN)
    full = {**ONE, "capacity": FULL}
    for pods in (
        [victim, make_pod("b", status=None)],
        [replace(victim, status=None), make_pod("b")],
    ):
        plan = planned(make_snapshot(*pods, spec=full))
        assert not [each for each in of(plan, PatchPod) if each.name == "a"]
        assert not of(plan, DrainNode)
        assert "is not known" in condition(plan, "ScalingLimited")[2]
    assert of(planned(make_snapshot(victim, make_pod("b"), spec=full)), DrainNode)


def test_a_scale_down_waits_for_room() -> None:
    """The others have to have room below the soft limit."""
    pods = [make_pod("a", status=make_status(60)), make_pod("b", status=make_status(50))]
    plan = planned(make_snapshot(*pods, spec={**ONE, "capacity": FULL}))
    assert not of(plan, CordonNode)
    assert "room for 30 clients" in condition(plan, "ScalingLimited")[2]
    roomy = planned(make_snapshot(*pods, spec=ONE))
    assert [action.name for action in of(roomy, CordonNode)] == ["b"]


def test_a_scale_down_takes_one_after_another() -> None:
    """While one node is on its way out no other is cordoned, unless more drains are allowed."""
    pods = [make_pod("a"), make_pod("b"), make_pod("c", status=make_status(5))]
    spec = {**ONE, "disruptionBudget": {"maxUnavailable": 1}}
    assert [action.name for action in of(planned(make_snapshot(*pods, spec=spec)), CordonNode)] == [
        "a"
    ]
    two = {**spec, "update": {"maxConcurrentDrains": 2}}
    both = of(planned(make_snapshot(*pods, spec=two)), CordonNode)
    assert [action.name for action in both] == ["a", "b"]


def test_raising_replicas_again_calls_a_drain_off() -> None:
    """A node that drains for a scale-down serves again when it is wanted again."""
    pod = leaving("a", NodeState.DRAINING, clients=5, reason=DrainReason.SCALE_DOWN)
    plan = planned(make_snapshot(pod, make_pod("b"), spec=TWO))
    assert [action.name for action in of(plan, AbortDrain)] == ["a"]
    patch = of(plan, PatchPod)[0]
    assert patch.labels == {names.ACCEPTING: "true"}
    assert patch.annotations[names.DRAIN_STATE] is None
    assert float(patch.annotations[names.REOPENED_AT]) == NOW
    assert "DrainAborted" in told(plan)


def test_a_cordoned_machine_is_emptied_only_into_what_replaces_it() -> None:
    """No node is taken out before another one accepts in its place, if that can be had."""
    machines = {"a": KubernetesNode("a", is_cordoned=True)}
    pods = [make_pod(name, kubernetes_node="a", status=make_status(5)) for name in "ab"]
    plan = planned(make_snapshot(*pods, spec=TWO, kubernetes_nodes=machines))
    assert not of(plan, CordonNode)
    assert len(of(plan, CreatePod)) == 1
    plan = planned(make_snapshot(*pods, make_pod("c"), spec=TWO, kubernetes_nodes=machines))
    assert [action.name for action in of(plan, CordonNode)] == ["a"]


# --- rollouts -----------------------------------------------------------------------------------


def test_old_nodes_are_cordoned_when_the_new_have_room_for_the_fullest() -> None:
    """Otherwise a drain would begin that nobody could take the clients of."""
    old = [make_pod(f"old-{n}", revision=OLD, status=make_status(90)) for n in range(2)]
    new = [make_pod(f"new-{n}", status=make_status(60)) for n in range(2)]
    spec = {**TWO, "capacity": FULL}
    plan = planned(make_snapshot(*old, *new, spec=spec))
    assert not of(plan, CordonNode)
    assert "room for 80 clients" in condition(plan, "Progressing")[2]
    roomy = planned(make_snapshot(*old, *new, spec=TWO))
    assert len(of(roomy, CordonNode)) == 2


def test_nobody_is_drained_while_clients_may_come_to_an_old_node() -> None:
    """All old nodes are shut before the first is drained, or its clients could come to them."""
    shut = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD)
    new = [make_pod("new-0"), make_pod("new-1")]
    still_open = make_pod("old-1", revision=OLD, status=make_status(5))
    plan = planned(make_snapshot(shut, still_open, *new, spec=TWO))
    assert not of(plan, DrainNode)
    assert [action.name for action in of(plan, CordonNode)] == ["old-1"]
    assert condition(plan, "Progressing")[1] == "Cordoning"
    unstarted = make_pod("old-1", revision=OLD, active_since=None, is_ready=False, status=None)
    plan = planned(make_snapshot(shut, unstarted, *new, spec=TWO))
    assert [action.name for action in of(plan, DrainNode)] == ["old-0"]
    assert [action.name for action in of(plan, DeletePod)] == ["old-1"]


@pytest.mark.parametrize(
    ("out_s", "quiet_s", "accepting", "drains"),
    [
        (30, 10, False, True),
        (30, 10, True, False),
        (5 + DEAF_SHUT_S, DEAF_QUIET_S, True, True),
        (5 + DEAF_SHUT_S, DEAF_QUIET_S - 1, True, False),
        (5 + DEAF_SHUT_S - 1, DEAF_QUIET_S, True, False),
    ],
)
def test_a_node_that_takes_no_orders_is_shut_when_nobody_has_come_for_long(
    out_s: float, quiet_s: float, accepting: bool, drains: bool
) -> None:
    """It cannot hold up a rollout for ever, but while clients come to it it does."""
    shut = leaving("old-0", NodeState.CORDONED, clients=9, revision=OLD)
    record = make_record(NodeState.CORDONED, cordoned_at=NOW - out_s)
    deaf = leaving("old-1", NodeState.CORDONED, revision=OLD, drain=record)
    deaf = replace(deaf, status=make_status(5, accepting=accepting, quiet_s=quiet_s))
    plan = planned(make_snapshot(shut, deaf, make_pod("n"), make_pod("m"), spec=TWO))
    assert bool(of(plan, DrainNode)) == drains


def test_drains_wait_for_a_place() -> None:
    """As many nodes drain as update.maxConcurrentDrains says, evicted ones counted in."""
    evicted = make_pod("evicted", deleted_until=NOW + 60, status=make_status(5))
    cordoned = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD)
    new = [make_pod("new-0"), make_pod("new-1")]
    plan = planned(make_snapshot(evicted, cordoned, *new, spec=TWO))
    assert not of(plan, DrainNode)
    told = replace(cordoned, name="old-1", status=make_status(5, drain_phase="draining"))
    assert not of(planned(make_snapshot(told, cordoned, *new, spec=TWO)), DrainNode)
    over = replace(evicted, deleted_until=NOW)
    plan = planned(make_snapshot(over, cordoned, *new, spec=TWO))
    assert [action.name for action in of(plan, DrainNode)] == ["old-0"]
    given_up = replace(evicted, drain=make_record(NodeState.DRAINED))
    assert not of(planned(make_snapshot(given_up, cordoned, *new, spec=TWO)), DrainNode)
    drained = replace(given_up, status=make_status(0))
    plan = planned(make_snapshot(drained, cordoned, *new, spec=TWO))
    assert [action.name for action in of(plan, DrainNode)] == ["old-0"]


def test_drains_wait_for_room() -> None:
    """The clients of a node need a place on those of the new revision."""
    cordoned = leaving("old-0", NodeState.CORDONED, clients=50, revision=OLD)
    new = [make_pod(f"new-{n}", status=make_status(80)) for n in range(2)]
    spec = {**TWO, "capacity": FULL}
    plan = planned(make_snapshot(cordoned, *new, spec=spec))
    assert not of(plan, DrainNode)


def test_a_silent_node_does_not_stop_the_rollout_that_mends_it() -> None:
    """What is not known counts as nothing for a rollout."""
    silent = leaving("old-0", NodeState.CORDONED, revision=OLD, status=None)
    new = [make_pod("new-0", status=None), make_pod("new-1", status=None)]
    plan = planned(make_snapshot(silent, *new, spec=TWO))
    patch = next(each for each in of(plan, PatchPod) if each.name == "old-0")
    assert patch.annotations[names.DRAIN_STATE] == NodeState.DRAINING


def test_a_node_is_given_longer_where_the_budget_needs_it() -> None:
    """A deadline is later rather than that more clients are sent away than the budget allows."""
    cordoned = leaving("old-0", NodeState.CORDONED, clients=9000, revision=OLD)
    spec = {**ONE, "reconnectBudget": {"connectionsPerSecondPerNode": 10}}
    order = of(planned(make_snapshot(cordoned, make_pod("new-0"), spec=spec)), DrainNode)[0]
    assert order.rate_per_s == 10
    assert order.deadline_s > 900


def test_a_node_that_was_shut_long_ago_has_its_whole_window() -> None:
    """The deadline is told as a node counts it: from when its door was shut."""
    cordoned = leaving("old-0", NodeState.CORDONED, clients=50, revision=OLD)
    cordoned = replace(cordoned, drain=make_record(NodeState.CORDONED, cordoned_at=NOW - 1000))
    order = of(planned(make_snapshot(cordoned, make_pod("new-0"), spec=ONE)), DrainNode)[0]
    _, told = request_of(order)
    assert told["deadline_s"] == 1000 + SPEC.drain.window_seconds + NODE_PATIENCE_S


def test_more_nodes_that_are_wanted_in_a_rollout_do_not_withdraw_it() -> None:
    """The old ones stay shut while those that were added start; one that fails opens them."""
    old = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD)
    new = [make_pod(f"new-{n}") for n in range(3)]
    added = [
        make_pod(f"added-{n}", active_since=None, is_ready=False, is_accepting=False, status=None)
        for n in range(3)
    ]
    snapshot = make_snapshot(old, *new, *added, spec={"replicas": 6})
    assert plan_rollout(Fleet(snapshot, NOW)).may_drain
    assert of(decide(snapshot, NOW), DrainNode)
    assert not of(decide(snapshot, NOW), AbortDrain)
    failed = [replace(pod, is_ready=False, status=None) for pod in new[:2]]
    snapshot = make_snapshot(old, *failed, new[2], *added, spec={"replicas": 6})
    assert plan_rollout(Fleet(snapshot, NOW)).is_withdrawn


def test_a_cluster_that_goes_with_its_namespace_is_let_go_at_once() -> None:
    """Before the operator's rights go too; Kubernetes deletes its Pods, and each drains itself."""
    spec = {**TWO, "drain": {"onDelete": "Drain", "propagationSeconds": 5, "windowSeconds": 30}}
    pods = [make_pod("a", status=make_status(5)), make_pod("b")]
    deleted: dict[str, Any] = {"spec": spec, "deleted_at": NOW - 1, "has_finalizer": True}
    plan = decide(make_snapshot(*pods, **deleted), NOW)
    assert not of(plan, SetFinalizer)
    (event,) = [each for each in plan.events if each.reason == "DeletionWaits"]
    assert "kubectl -n team patch realtimecluster chat" in event.message
    plan = decide(make_snapshot(*pods, **deleted, ends_with_namespace=True), NOW)
    assert plan.actions[0] == SetFinalizer(present=False)


def test_a_rollout_is_held_while_kubernetes_calls_all_nodes_not_ready() -> None:
    """After an outage of the API server, say: the new revision is not blamed for it."""
    unready: dict[str, Any] = {"is_ready": False, "ready_changed_at": NOW - 300}
    old = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD, **unready)
    draining = leaving("old-1", NodeState.DRAINING, clients=5, revision=OLD, **unready)
    new = [make_pod(f"new-{n}", **unready) for n in range(2)]
    snapshot = make_snapshot(old, draining, *new, spec=TWO)
    rollout = plan_rollout(Fleet(snapshot, NOW))
    assert rollout.is_held
    assert "of either revision" in rollout.reason
    plan = planned(snapshot)
    assert not of(plan, AbortDrain)
    assert not of(plan, DrainNode)
    assert not of(plan, PatchPod)
    # As soon as one is ready again there is somewhere to go back to.
    back = replace(old, is_ready=True)
    assert of(planned(make_snapshot(back, draining, *new, spec=TWO)), AbortDrain)
    # New ones whose containers do not run have failed by themselves.
    broken = [replace(pod, problem="CrashLoopBackOff", status=None) for pod in new]
    snapshot = make_snapshot(old, draining, *broken, spec=TWO)
    assert plan_rollout(Fleet(snapshot, NOW)).is_withdrawn


def test_new_nodes_that_say_they_serve_are_given_a_moment_to_be_ready_again() -> None:
    """Machines are heard again one after another; what stays not ready has failed."""
    old = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD)
    lately: dict[str, Any] = {"is_ready": False, "ready_changed_at": NOW - DOUBTED_S + 1}
    new = [make_pod(f"new-{n}", **lately) for n in range(2)]
    snapshot = make_snapshot(old, *new, spec=TWO)
    assert plan_rollout(Fleet(snapshot, NOW)).is_held
    assert not of(planned(snapshot), AbortDrain)
    assert plan_rollout(Fleet(snapshot, NOW + 1)).is_withdrawn
    silent = [replace(pod, status=None) for pod in new]
    assert plan_rollout(Fleet(make_snapshot(old, *silent, spec=TWO), NOW)).is_withdrawn


def test_nodes_that_drain_together_share_the_budget_and_are_given_the_time_for_it() -> None:
    """Each of two gets half of the budget, so it needs twice as long as it would alone."""
    cordoned = [leaving(f"old-{n}", NodeState.CORDONED, clients=5000, revision=OLD) for n in (0, 1)]
    spec = {
        **TWO,
        "reconnectBudget": {"connectionsPerSecondPerNode": 10},
        "update": {"maxConcurrentDrains": 2},
    }
    new = [make_pod("new-0"), make_pod("new-1")]
    orders = of(planned(make_snapshot(*cordoned, *new, spec=spec)), DrainNode)
    assert len(orders) == 2
    assert all(order.deadline_s > 10_000 / 20 for order in orders)
    alone = of(planned(make_snapshot(cordoned[0], *new, spec=spec)), DrainNode)
    assert alone[0].deadline_s < 10_000 / 20


def test_a_node_that_does_not_know_of_its_drain_is_told_again() -> None:
    """A lost order is given again, with what is left of the time."""
    record = make_record(NodeState.DRAINING, deadline=NOW + 10)
    pod = leaving("old-0", NodeState.DRAINING, revision=OLD, drain=record)
    pod = replace(pod, status=make_status(5, drain_phase="serving"))
    order = of(planned(make_snapshot(pod, make_pod("new-0"), spec=ONE)), DrainNode)[0]
    assert order.deadline_s == 10 + NODE_PATIENCE_S
    assert order.window_s < 10
    forced = replace(pod, drain=make_record(NodeState.FORCING, deadline=NOW - 1))
    order = of(planned(make_snapshot(forced, make_pod("new-0"), spec=ONE)), DrainNode)[0]
    assert order.deadline_s == 0
    lost = leaving("old-1", NodeState.CORDONED, revision=OLD, status=make_status(5))
    assert of(planned(make_snapshot(lost, make_pod("new-0"), spec=ONE)), CordonNode)


def test_time_given_again_is_told_to_the_node() -> None:
    """With deadlinePolicy Wait a node never forces by itself, and its deadline moves."""
    record = make_record(NodeState.DRAINING, deadline=NOW)
    pod = leaving("old-0", NodeState.DRAINING, clients=5, revision=OLD, drain=record)
    spec = {**ONE, "drain": {"deadlinePolicy": "Wait", "windowSeconds": 30}}
    plan = planned(make_snapshot(pod, make_pod("new-0"), spec=spec))
    assert of(plan, DrainNode)[0].deadline_s > 3600
    assert float(of(plan, PatchPod)[0].annotations[names.DRAIN_DEADLINE]) == NOW + 30


def test_the_more_urgent_reason_is_written_down() -> None:
    """A node that drains for a rollout and whose machine is cordoned has the machine's reason."""
    pod = leaving("old-0", NodeState.DRAINING, clients=5, revision=OLD, kubernetes_node="a")
    machines = {"a": KubernetesNode("a", is_cordoned=True)}
    plan = planned(make_snapshot(pod, make_pod("n"), spec=ONE, kubernetes_nodes=machines))
    assert of(plan, PatchPod)[0].annotations == {names.DRAIN_REASON: "NodeCordoned"}


def test_as_many_go_back_as_the_floor_lacks() -> None:
    """If nodes that accept are missing, a cordoned one with most clients serves again."""
    pods = [
        leaving("a", NodeState.CORDONED, clients=1, reason=DrainReason.NODE_CORDONED),
        leaving("b", NodeState.CORDONED, clients=9, reason=DrainReason.NODE_CORDONED),
        make_pod("c"),
    ]
    pods = [replace(pod, kubernetes_node="a") for pod in pods[:2]] + pods[2:]
    machines = {"a": KubernetesNode("a", is_cordoned=True)}
    plan = planned(make_snapshot(*pods, kubernetes_nodes=machines))
    assert [action.name for action in of(plan, AbortDrain)] == ["b"]


def test_a_rollout_that_fails_leaves_other_drains_alone() -> None:
    """Only who had to go for the rollout goes back to work; a cordoned machine is emptied."""
    rolling = leaving("old-0", NodeState.CORDONED, clients=5, revision=OLD)
    moved = leaving("old-1", NodeState.CORDONED, clients=5, reason=DrainReason.NODE_CORDONED)
    moved = replace(moved, revision=OLD, kubernetes_node="a")
    machines = {"a": KubernetesNode("a", is_cordoned=True)}
    plan = planned(make_snapshot(rolling, moved, spec=ONE, kubernetes_nodes=machines))
    assert [action.name for action in of(plan, AbortDrain)] == ["old-0"]


def test_a_node_that_stays_shut_is_replaced() -> None:
    """One that does not open when it is told to, for long, makes room for another one."""
    shut = {"accepting": False, "drain_phase": "cordoned"}
    early = make_pod("a", status=make_status(5, **shut, phase_s=REFUSES_S - 1))
    plan = planned(make_snapshot(early, make_pod("b"), spec=TWO))
    assert of(plan, AbortDrain)
    assert not of(plan, CreatePod)
    late = replace(early, status=make_status(5, **shut, phase_s=REFUSES_S))
    just_told = replace(late, reopened_at=NOW - REFUSES_S + 1)  # it was cordoned for long before
    assert of(planned(make_snapshot(just_told, make_pod("b"), spec=TWO)), AbortDrain)
    plan = planned(make_snapshot(late, make_pod("b"), spec=TWO))
    assert len(of(plan, CreatePod)) == 1
    patch = of(plan, PatchPod)[0]
    assert (patch.name, patch.annotations[names.DRAIN_REASON]) == ("a", "RefusesClients")
    # It does not go back to work while there are too few: it would not.
    record = make_record(NodeState.CORDONED, DrainReason.REFUSES)
    given_up = replace(late, drain=record, is_accepting=False)
    plan = planned(make_snapshot(given_up, spec=TWO))
    assert not of(plan, AbortDrain)
    silent = replace(given_up, status=None)
    patch = of(planned(make_snapshot(silent, make_pod("b"), spec=TWO)), PatchPod)[0]
    assert patch.annotations[names.DRAIN_STATE] == NodeState.DRAINING
    opened = replace(given_up, status=make_status(5))
    assert (
        of(planned(make_snapshot(opened, make_pod("b"), spec=TWO)), PatchPod)[0].annotations[
            names.DRAIN_STATE
        ]
        is None
    )


# --- supply -------------------------------------------------------------------------------------


def test_pods_without_a_controller_are_taken_in() -> None:
    """A Pod of the cluster that nobody controls is adopted and counts."""
    plan = planned(make_snapshot(make_pod("a", is_owned=False), spec=ONE))
    assert of(plan, AdoptPod) == [AdoptPod("a", "uid-a")]
    assert not of(plan, CreatePod)


def test_a_failed_pod_is_replaced_in_time() -> None:
    """A Pod that Kubernetes gave up goes, but not in a tight loop."""
    fresh = make_pod("a", has_failed=True, is_ready=False, status=None, created_at=NOW - 5)
    plan = planned(make_snapshot(fresh, spec=ONE))
    assert not of(plan, DeletePod)
    assert not of(plan, CreatePod)
    later = replace(fresh, created_at=NOW - 90, problem="Evicted")
    plan = planned(make_snapshot(later, spec=ONE))
    assert of(plan, DeletePod)[0].reason == "it has failed: Evicted"
    assert condition(plan, "Degraded")[0] == "True"


def test_a_name_is_not_used_twice() -> None:
    """A new Pod takes the lowest number that no Pod has, deleted ones included."""
    going = make_pod(f"chat-{NEW}-0", deleted_until=NOW + 9)
    plan = planned(make_snapshot(going, spec=ONE))
    assert [action.name for action in of(plan, CreatePod)] == [f"chat-{NEW}-1"]


def test_a_name_that_a_stranger_has_is_passed_over() -> None:
    """A Pod that lost its label keeps its name: another number is taken, and people are told."""
    first, second = f"chat-{NEW}-0", f"chat-{NEW}-1"
    taken = frozenset({first})
    plan = planned(make_snapshot(spec=ONE, taken_names=taken))
    assert [action.name for action in of(plan, CreatePod)] == [second]
    assert [event.reason for event in plan.events if first in event.message] == ["NameTaken"]
    again = planned(make_snapshot(make_pod(first), spec=ONE, taken_names=taken))
    assert "NameTaken" not in told(again)  # it was our own, created before the operator died


def test_pods_are_created_in_batches() -> None:
    """A large cluster does not begin all at once."""
    assert len(of(planned(make_snapshot(spec={"replicas": 50})), CreatePod)) == 10


NEVER_READY: dict[str, Any] = {"is_ready": False, "active_since": None, "status": None}
STARTING: dict[str, Any] = {**NEVER_READY, "created_at": NOW - 9, "ready_changed_at": NOW - 9}


def pods_of(count: int, name: str, **changed: Any) -> list[Pod]:
    """Some Pods that are alike."""
    return [make_pod(f"{name}-{number}", **changed) for number in range(count)]


def cordoned_of(count: int) -> list[Pod]:
    """Old nodes that are cordoned, and hold all clients."""
    return [leaving(f"old-{n}", NodeState.CORDONED, clients=9, revision=OLD) for n in range(count)]


@pytest.mark.parametrize(
    ("pods", "evictable"),
    [
        pytest.param(pods_of(3, "a"), 1, id="steady"),
        pytest.param(pods_of(2, "a"), 0, id="one-is-missing"),
        pytest.param(pods_of(2, "a") + pods_of(1, "b", is_ready=False), 0, id="one-has-crashed"),
        pytest.param(pods_of(2, "a", revision=OLD), 0, id="one-is-missing-before-a-rollout"),
        pytest.param(
            pods_of(3, "old", revision=OLD) + pods_of(3, "new", **STARTING),
            0,  # they may be ready before the next round
            id="new-ones-start",
        ),
        pytest.param(
            pods_of(3, "old", revision=OLD) + pods_of(3, "new", **STARTING, problem="no image"),
            1,
            id="new-ones-are-broken",
        ),
        pytest.param(
            pods_of(3, "old", revision=OLD) + pods_of(3, "new", **NEVER_READY),
            1,
            id="new-ones-are-never-ready",
        ),
        pytest.param(
            pods_of(2, "old", revision=OLD) + pods_of(3, "new", **NEVER_READY),
            0,
            id="new-ones-are-never-ready-and-an-old-one-was-evicted",
        ),
        pytest.param(
            pods_of(3, "old", revision=OLD) + pods_of(3, "new", active_since=None),
            1,
            id="new-ones-warm-up",
        ),
        pytest.param(cordoned_of(3) + pods_of(3, "new"), 1, id="old-ones-are-cordoned"),
        pytest.param(cordoned_of(1) + pods_of(3, "new"), 1, id="one-old-one-is-left"),
        pytest.param(
            cordoned_of(3) + pods_of(2, "new") + pods_of(1, "bad", is_ready=False),
            0,
            id="a-new-one-has-crashed",
        ),
        pytest.param(pods_of(5, "a"), 1, id="two-too-many"),
    ],
)
def test_kubernetes_may_evict_one_at_a_time(pods: list[Pod], evictable: int) -> None:
    """Ready Pods above what the budget asks for: of all that hold clients, or are about to."""
    spec = {"replicas": 3, "update": {"progressDeadlineSeconds": 60}}
    plan = planned(make_snapshot(*pods, spec=spec))
    budget = next(
        each.manifest["spec"]
        for each in of(plan, ApplyChild)
        if each.manifest["kind"] == "PodDisruptionBudget"
    )
    ready = sum(1 for pod in pods if pod.is_ready)
    assert max(0, ready - budget["minAvailable"]) == evictable


# --- the rest -----------------------------------------------------------------------------------


def test_a_node_cut_off_from_redis_takes_no_new_clients() -> None:
    """It leaves the Service while another node reaches Redis, and comes back with it."""
    cut = make_pod("a", status=make_status(3, backplane_available=False))
    plan = planned(make_snapshot(cut, make_pod("b"), spec=TWO))
    assert of(plan, PatchPod) == [PatchPod("a", "uid-a", labels={names.ACCEPTING: "false"})]
    assert condition(plan, "Degraded")[1] == "BackplaneUnavailable"
    both = replace(make_pod("b"), status=make_status(3, backplane_available=False))
    assert not of(planned(make_snapshot(cut, both, spec=TWO)), PatchPod)
    back = replace(cut, is_accepting=False, status=make_status(3))
    plan = planned(make_snapshot(back, make_pod("b"), spec=TWO))
    assert of(plan, PatchPod) == [PatchPod("a", "uid-a", labels={names.ACCEPTING: "true"})]


def test_the_budget_is_told_where_it_is_another() -> None:
    """One node is told, and none if all is as it should be."""
    spec = {**TWO, "reconnectBudget": {"connectionsPerSecondPerNode": 50}}
    pods = [make_pod(name, status=make_status(budget_per_s=100)) for name in "ab"]
    assert of(planned(make_snapshot(*pods, spec=spec)), SetBudget) == [
        SetBudget("a", "192.0.2.1", 50)
    ]
    told_already = [make_pod(name, status=make_status(budget_per_s=50)) for name in "ab"]
    assert not of(planned(make_snapshot(*told_already, spec=spec)), SetBudget)
    assert not of(planned(make_snapshot(make_pod("a", status=None), spec=spec)), SetBudget)


def test_a_longer_window_asks_no_node_for_more_than_its_pod_has() -> None:
    """Running Pods keep their grace period, and so do their settings; a shorter window counts."""

    def shutdown(window_s: int, *graces_s: int | None) -> str:
        pods = [make_pod(f"a-{n}", grace_s=grace_s) for n, grace_s in enumerate(graces_s)]
        other = make_pod("old", revision=OLD, grace_s=9)
        drain = {"propagationSeconds": 5, "windowSeconds": window_s}
        plan = planned(make_snapshot(*pods, other, spec={"replicas": 3, "drain": drain}))
        [settings] = [
            json.loads(each.manifest["data"][FILE])
            for each in of(plan, ApplyChild)
            if each.manifest["kind"] == "ConfigMap"
        ]
        return str(settings["shutdown"]["timeout"])

    assert shutdown(100, None) == "115s"
    assert shutdown(100, 120, 120) == "115s"
    assert shutdown(500, 120, 520) == "115s"
    assert shutdown(500, 520) == "515s"
    assert shutdown(50, 120) == "65s"


def test_settings_of_revisions_that_are_gone_are_deleted() -> None:
    """The ConfigMap of a revision stays while one of its Pods does, a deleted one included."""
    going = make_pod("old", revision=OLD, deleted_until=NOW + 9)
    revisions = frozenset({OLD, NEW, "gone"})
    plan = planned(make_snapshot(going, settings_revisions=revisions))
    assert of(plan, DeleteSettings) == [DeleteSettings("gone")]


def test_a_paused_cluster_is_left_alone() -> None:
    """Nothing is done; the status goes on telling what is there."""
    plan = planned(make_snapshot(spec={"paused": True}))
    assert plan.actions == ()
    assert condition(plan, "Paused")[0] == "True"


def test_a_deleted_cluster_is_left_to_kubernetes() -> None:
    """Without a drain on deletion nothing is recreated, and nothing drained."""
    plan = planned(make_snapshot(make_pod(), deleted_at=NOW - 1))
    assert plan.actions == ()


def test_deletion_waits_for_the_drain_that_was_asked_for() -> None:
    """All nodes drain at once; then, or when it takes too long, the resource is let go."""
    spec = {**TWO, "drain": {"onDelete": "Drain", "propagationSeconds": 5, "windowSeconds": 30}}
    before = planned(make_snapshot(make_pod(), spec=spec))
    assert of(before, SetFinalizer) == [SetFinalizer(present=True)]
    pods = [make_pod(name, status=make_status(5)) for name in "ab"]
    deleted: dict[str, Any] = {"spec": spec, "deleted_at": NOW - 9, "has_finalizer": True}
    plan = planned(make_snapshot(*pods, **deleted))
    assert len(of(plan, CordonNode)) == 2
    assert not of(plan, ApplyChild)
    assert not of(plan, CreatePod)
    cordoned = [
        leaving(name, NodeState.CORDONED, clients=5, reason=DrainReason.DELETE) for name in "ab"
    ]
    assert len(of(planned(make_snapshot(*cordoned, **deleted)), DrainNode)) == 2
    gone = planned(make_snapshot(**deleted))
    assert of(gone, SetFinalizer) == [SetFinalizer(present=False)]
    late = {**deleted, "deleted_at": NOW - 35 - 2 * FORCING_GRACE_S}
    assert of(planned(make_snapshot(*pods, **late)), SetFinalizer)


def test_a_cluster_that_cannot_start_says_why() -> None:
    """Too few nodes: the condition names the problem of a Pod."""
    broken = make_pod(
        "a", is_ready=False, status=None, active_since=None, problem="ErrImagePull: no such image"
    )
    plan = planned(make_snapshot(broken, spec=ONE))
    assert "ErrImagePull" in condition(plan, "Available")[2]
    late = replace(broken, created_at=NOW - 999, ready_changed_at=NOW - 999, problem="")
    plan = planned(make_snapshot(late, replace(late, name="b"), spec=TWO))
    assert condition(plan, "Degraded")[1] == "ProgressDeadlineExceeded"
    assert "(and 1 more)" in condition(plan, "Progressing")[2]
    assert "ProgressDeadlineExceeded" in told(plan)


def test_what_the_api_server_refuses_is_told() -> None:
    """A condition and an event say what it said, since the user has to mend it."""
    plan = planned(make_snapshot(make_pod(), spec=ONE, refusals=("a Pod cannot be made: no",)))
    assert condition(plan, "Degraded") == ("True", "CreateFailed", "a Pod cannot be made: no")
    assert "CreateFailed" in told(plan)


def test_scaling_is_told_once_it_is_seen() -> None:
    """An event tells from how many to how many nodes."""
    before = RealtimeClusterStatus(observed_generation=1, desired_replicas=1)
    plan = planned(make_snapshot(make_pod("a"), spec=TWO, status=before))
    assert "ScaledUp" in told(plan)
    before = RealtimeClusterStatus(observed_generation=1, desired_replicas=5)
    plan = planned(make_snapshot(make_pod("a"), spec=ONE, status=before))
    assert "ScaledDown" in told(plan)


def test_the_next_round_comes_when_a_wait_ends() -> None:
    """A node that settles, a propagation or a deadline is not waited for longer than it takes."""
    assert planned(make_snapshot(make_pod(), spec=ONE)).wake_after_s == 15
    warming = make_pod(active_since=None, ready_changed_at=NOW - 0.5)
    assert planned(make_snapshot(warming, spec=ONE)).wake_after_s == 1.5
    record = make_record(NodeState.DRAINING, deadline=NOW + 2)
    pod = leaving("old", NodeState.DRAINING, clients=5, revision=OLD, drain=record)
    assert planned(make_snapshot(pod, make_pod(), spec=ONE)).wake_after_s == 2


# --- status -------------------------------------------------------------------------------------


def test_states_are_written_at_once_and_numbers_rarely() -> None:
    """A change of state is worth a write; clients that come and go are, by a twentieth and 10 s."""

    def status(clients: int, **changed: Any) -> RealtimeClusterStatus:
        return planned(
            make_snapshot(make_pod(status=make_status(clients)), spec=ONE, **changed)
        ).status

    written = status(100)
    assert not worth_writing(written, status(100), written_s_ago=99)
    assert not worth_writing(written, status(105), written_s_ago=99)
    assert worth_writing(written, status(106), written_s_ago=10)
    assert not worth_writing(written, status(106), written_s_ago=9)
    assert worth_writing(written, status(106), written_s_ago=-3600)
    assert worth_writing(written, status(100, deleted_at=NOW), written_s_ago=0)


def test_a_drain_is_written_as_it_goes() -> None:
    """What is left on a node that drains is told every ten seconds."""

    def status(clients: int) -> RealtimeClusterStatus:
        pod = leaving("old", NodeState.DRAINING, clients=clients, revision=OLD)
        pod = replace(pod, status=make_status(clients, drain_phase="draining", eta_s=4.6))
        kept = make_pod(status=make_status(1000))
        return planned(make_snapshot(pod, kept, spec=ONE)).status

    written = status(9)
    assert worth_writing(written, status(8), written_s_ago=10)
    assert not worth_writing(written, status(8), written_s_ago=5)
    drain = written.nodes[-1].drain
    assert drain
    assert (drain.remaining, drain.eta_seconds) == (9, 5)


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    """Only a change of status moves lastTransitionTime."""
    first = planned(make_snapshot(make_pod(), spec=ONE))
    later = decide(make_snapshot(make_pod(), spec=ONE, status=first.status), NOW + 60)
    assert later.status.conditions == first.status.conditions
    broken = make_snapshot(make_pod(is_ready=False), spec=ONE, status=first.status)
    changed = decide(broken, NOW + 60).status
    times = {each.type: each.last_transition_time for each in changed.conditions}
    assert times["Available"] != times["Paused"]
