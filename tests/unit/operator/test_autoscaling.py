"""How many nodes there should be: every rule on a snapshot made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from realtime_operator.crd.status import (
    AutoscalingStatus,
    RealtimeClusterStatus,
    ScaleUpStatus,
)
from realtime_operator.decide.actions import CordonNode, CreatePod, DrainNode
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.demand import LONGEST_LEAD_S
from realtime_operator.decide.instants import timestamp
from realtime_operator.decide.scaling import Limit
from realtime_operator.decide.scaling_status import KEPT
from realtime_operator.decide.snapshot import (
    DrainReason,
    NodeLoad,
    NodeState,
    Pod,
    Snapshot,
    Watched,
)
from tests.unit.operator.fleets import (
    LONG_WATCHED,
    NOW,
    OLD,
    fleet_of,
    leaving,
    loaded,
    make_pod,
    make_snapshot,
    make_status,
)


def scaled(
    *pods: Pod,
    desired: int | None = None,
    scale_up: ScaleUpStatus | None = None,
    mode: str = "Internal",
    **changed: Any,
) -> Snapshot:
    """A cluster of nodes that hold a hundred clients each; so many were wanted until now."""
    autoscaling = {"mode": mode, **changed.pop("autoscaling", {})}
    spec = {"capacity": {"maxConnections": 100}, **changed.pop("spec", {})}
    before = AutoscalingStatus(desired=len(pods) if desired is None else desired, scale_up=scale_up)
    status = RealtimeClusterStatus(
        observed_generation=1, desired_replicas=before.desired, autoscaling=before
    )
    return make_snapshot(
        *pods,
        **{
            "spec": {**spec, "autoscaling": autoscaling},
            "status": status,
            "watched": LONG_WATCHED,
            **changed,
        },
    )


def planned(snapshot: Snapshot) -> Plan:
    """The plan of a snapshot."""
    return decide(snapshot, NOW)


def limits(plan: Plan) -> list[Limit]:
    """The limits that applied."""
    return [each.limit for each in plan.scaling.limits]


def condition(plan: Plan, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = next(each for each in plan.status.conditions if each.type == kind)
    return found.status, found.reason


def told(plan: Plan) -> dict[str, str]:
    """The messages of all events, by reason."""
    return {event.reason: event.message for event in plan.events}


def of(plan: Plan, kind: type[object]) -> list[Any]:
    """The actions of a kind."""
    return [action for action in plan.actions if isinstance(action, kind)]


NO_HEADROOM = {"headroomNodes": 0, "minReplicas": 1}


# --- what the load needs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "nodes"), [(0, 2), (70, 2), (71, 3), (140, 3), (141, 4), (700, 11), (701, 12)]
)
def test_connections_at_their_target_and_a_node_to_spare(clients: int, nodes: int) -> None:
    """Seventy of a hundred clients a node, rounded up, and one more."""
    plan = planned(scaled(*fleet_of(1, clients), desired=1, autoscaling={"maxReplicas": 50}))
    assert max(plan.scaling.raw, 2) == nodes


def test_deliveries_and_the_loop_count_as_well() -> None:
    """Whatever needs most nodes says how many there are."""
    spec: dict[str, Any] = {"autoscaling": {"targetDeliveriesPerSecond": 1000}}
    plan = planned(scaled(*fleet_of(2, 10, deliveries=1800.0), **spec))
    assert plan.scaling.raw == 5
    assert "deliveries/s" in plan.scaling.reason
    assert plan.status.messages.deliveries_per_second == 3600
    silent = replace(scaled(make_pod("chat-0", status=None)), status=plan.status)
    assert planned(silent).status.messages.deliveries_per_second == 3600, "as it was known last"
    plan = planned(scaled(*fleet_of(2, 10, busy=0.9)))
    assert plan.scaling.raw == 4
    assert "busy event loops" in plan.scaling.reason


def test_who_seems_to_be_elsewhere_asks_for_no_node_and_lets_none_go() -> None:
    """More nodes are not for clients that are counted twice; for fewer, all of them count."""
    lost = make_pod("lost", status=None, load=NodeLoad(60, 0.0, 0.0, NOW - 12, elsewhere=1.0))
    plan = planned(scaled(*fleet_of(2, 60), lost))
    assert plan.scaling.inputs.connections == 120
    assert plan.scaling.raw == 3
    assert plan.scaling.needed_to_shrink == 5


def test_work_that_our_own_drains_make_asks_for_no_node() -> None:
    """In a rollout loops do more than the load asks: only past the soft limit does it count."""
    old = [loaded(f"old-{n}", 10, busy=0.8, revision=OLD) for n in range(2)]
    plan = planned(scaled(*old, *fleet_of(2, 10, busy=0.1), desired=3))
    assert plan.scaling.desired == 3
    hot = [structs.replace(pod, load=NodeLoad(10, 0.0, 1.0, NOW)) for pod in old]
    plan = planned(scaled(*hot, *fleet_of(2, 10, busy=0.5), desired=3))
    assert plan.scaling.desired == 5


@pytest.mark.parametrize(("ago_s", "nodes"), [(0, 2), (29, 2), (30, 3)])
def test_work_of_a_drain_that_is_over_is_none_while_it_is_in_averages(
    ago_s: float, nodes: int
) -> None:
    """For three intervals, after which loops are measured without it."""
    watched = replace(LONG_WATCHED, drained_at=NOW - ago_s)
    plan = planned(scaled(*fleet_of(2, 10, busy=0.8), watched=watched, autoscaling=NO_HEADROOM))
    assert plan.scaling.desired == nodes


def test_the_target_of_deliveries_follows_from_what_a_node_can() -> None:
    """Without one it is 70 % of capacity.maxDeliveriesPerSecond; without both there is none."""
    pods = fleet_of(2, 10, deliveries=1800.0)
    capacity = {"maxConnections": 100, "maxDeliveriesPerSecond": 1000}
    assert planned(scaled(*pods, spec={"capacity": capacity})).scaling.raw == 7
    assert planned(scaled(*pods)).scaling.raw == 2


def test_growth_is_looked_ahead() -> None:
    """Clients that will have come by the time another node could serve them are counted."""
    growing = Watched(growth_per_s=1.0, since=NOW - 9999)
    plan = planned(scaled(*fleet_of(2, 35), watched=growing))
    assert plan.scaling.inputs.demand == 130
    assert plan.scaling.raw == 3
    off = {"prediction": {"enabled": False}}
    assert planned(scaled(*fleet_of(2, 35), watched=growing, autoscaling=off)).scaling.raw == 2
    falling = replace(growing, growth_per_s=-5.0)
    assert planned(scaled(*fleet_of(2, 35), watched=falling)).scaling.inputs.demand == 70


def test_a_prediction_is_not_believed_without_bounds() -> None:
    """It at most doubles what there is, or fills one node that is still empty."""
    rush = Watched(growth_per_s=1e9, since=NOW - 9999)
    assert planned(scaled(*fleet_of(4, 50), watched=rush)).scaling.inputs.demand == 400
    assert planned(scaled(*fleet_of(2, 0), watched=rush)).scaling.inputs.demand == 100


def test_the_lead_is_as_long_as_nodes_took_to_start() -> None:
    """The horizon at least; longer where nodes took longer, and not for ever."""

    def lead(*took: float) -> float:
        pods = [
            loaded(f"chat-{n}", created_at=NOW - 5000, active_since=NOW - 5000 + each)
            for n, each in enumerate(took)
        ]
        return planned(scaled(*pods)).scaling.inputs.lead_s

    assert lead(5, 20) == 60
    assert lead(5, 100) == 110
    assert lead(*[30] * 19, 4000) == 60
    assert lead(*[30] * 9, 4000) == LONGEST_LEAD_S
    fresh = [make_pod("chat-0", active_since=None, is_ready=False, status=None)]
    assert planned(scaled(*fresh)).scaling.inputs.lead_s == 60


def test_who_drains_is_demand_and_no_supply() -> None:
    """A draining node's clients are about to come to the others."""
    going = leaving("old", NodeState.DRAINING, clients=60, reason=DrainReason.NODE_CORDONED)
    going = structs.replace(going, load=NodeLoad(60, 0.0, 0.0, NOW))
    plan = planned(scaled(*fleet_of(2, 40), going, desired=2))
    assert plan.scaling.inputs.connections == 140
    assert plan.scaling.desired == 3


def test_what_does_not_run_carries_nothing() -> None:
    """The clients of a container that crashed are elsewhere by now, or on their way."""
    crashed = loaded("crashed", 90, problem="CrashLoopBackOff", status=None)
    failed = loaded("failed", 90, has_failed=True)
    plan = planned(scaled(*fleet_of(2, 10), crashed, failed))
    assert plan.scaling.inputs.connections == 20


def test_a_pod_that_never_ends_is_not_counted_for_ever() -> None:
    """Its machine is lost: its clients may be there while its grace lasts, or if it says so."""
    lost = loaded("lost", 90, status=None, deleted_until=NOW + 1)

    def connections(pod: Pod) -> int:
        return planned(scaled(*fleet_of(2, 10), pod)).scaling.inputs.connections

    assert connections(lost) == 110
    assert connections(structs.replace(lost, deleted_until=NOW)) == 20
    assert connections(loaded("slow", 90, deleted_until=NOW - 5)) == 110


# --- up -----------------------------------------------------------------------------------------


def test_more_nodes_come_at_once() -> None:
    """Nodes are created in the round that finds that they are needed, and people are told."""
    plan = planned(scaled(*fleet_of(2, 95)))
    assert plan.scaling.desired == 4
    assert len(of(plan, CreatePod)) == 2
    assert plan.status.desired_replicas == 4
    assert "190 connections" in told(plan)["ScaledUp"]
    assert condition(plan, "ScalingActive") == ("True", "Internal")
    assert condition(plan, "ScalingLimited")[0] == "False"
    assert plan.status.autoscaling
    assert plan.status.autoscaling.last_scale_time == timestamp(NOW)


def test_no_more_come_within_a_period_than_the_step_allows() -> None:
    """The period begins with the first of them; what was added in it counts."""
    pods = fleet_of(10, 84)
    step = {"scaleUp": {"maxNodes": 2, "periodSeconds": 60}}
    plan = planned(scaled(*pods, autoscaling=step))
    assert (plan.scaling.raw, plan.scaling.desired) == (13, 12)
    assert limits(plan) == [Limit.SCALE_UP_STEP]
    assert "12 are allowed within 60 s" in told(plan)["ScalingLimited"]
    assert condition(plan, "ScalingLimited") == ("True", "ScaleUpStep")
    assert plan.status.autoscaling
    period = plan.status.autoscaling.scale_up
    assert period == ScaleUpStatus(since=timestamp(NOW), replicas_before=10)
    begun = ScaleUpStatus(since=timestamp(NOW - 59), replicas_before=10)
    plan = planned(scaled(*pods, desired=11, scale_up=begun, autoscaling=step))
    assert plan.scaling.desired == 12
    assert plan.status.autoscaling
    assert plan.status.autoscaling.scale_up == begun
    over = ScaleUpStatus(since=timestamp(NOW - 60), replicas_before=10)
    plan = planned(scaled(*pods, desired=12, scale_up=over, autoscaling=step))
    assert plan.scaling.desired == 13
    set_back = ScaleUpStatus(since=timestamp(NOW + 3600), replicas_before=10)
    plan = planned(scaled(*pods, desired=12, scale_up=set_back, autoscaling=step))
    assert plan.scaling.desired == 13
    spoiled = ScaleUpStatus(since="yesterday", replicas_before=1)
    plan = planned(scaled(*pods, desired=12, scale_up=spoiled, autoscaling=step))
    assert plan.scaling.desired == 13


@pytest.mark.parametrize(
    "load",
    [{"clients": 95}, {"busy": 0.95}, {"deliveries": 990.0}],
)
def test_a_cluster_that_is_full_may_double(load: dict[str, Any]) -> None:
    """In a flash crowd, steps would come too late."""
    capacity = {"maxConnections": 100, "maxDeliveriesPerSecond": 1000}
    step = {"scaleUp": {"maxNodes": 1}, "targetConnectionPercent": 40, "targetLoopBusyPercent": 40}
    step["targetDeliveriesPerSecond"] = 400
    step["scaleDown"] = {"maxUtilizationPercent": 30}
    pods = fleet_of(4, **load)
    plan = planned(scaled(*pods, spec={"capacity": capacity}, autoscaling=step))
    assert plan.scaling.desired == 8
    assert limits(plan) == [Limit.SCALE_UP_STEP]


def test_a_new_cluster_begins_with_its_least_number() -> None:
    """That is no step."""
    plan = planned(scaled(desired=0, autoscaling={"minReplicas": 8, "scaleUp": {"maxNodes": 1}}))
    assert plan.scaling.desired == 8
    assert plan.scaling.previous == 0
    begun = ScaleUpStatus(since=timestamp(NOW - 9), replicas_before=0)
    rule = {"minReplicas": 8, "scaleUp": {"maxNodes": 1}}
    plan = planned(scaled(*fleet_of(8, 80), scale_up=begun, autoscaling=rule))
    assert plan.scaling.desired == 9


def test_never_more_than_the_most() -> None:
    """And people are told that more would be needed."""
    plan = planned(scaled(*fleet_of(4, 95), autoscaling={"maxReplicas": 5}))
    assert (plan.scaling.raw, plan.scaling.desired) == (7, 5)
    assert limits(plan) == [Limit.MAX_REPLICAS]
    assert "maxReplicas is 5" in told(plan)["ScalingLimited"]


def test_a_raised_least_number_is_reached() -> None:
    """However little load there is."""
    plan = planned(scaled(*fleet_of(3, 1), autoscaling={"minReplicas": 5}))
    assert plan.scaling.desired == 5
    assert limits(plan) == [Limit.MIN_REPLICAS]
    assert "ScalingLimited" not in told(plan)


def test_nothing_changes_in_between() -> None:
    """More than fewer nodes might carry, less than calls for another: the number stays."""
    plan = planned(scaled(*fleet_of(4, 45)))
    assert (plan.scaling.raw, plan.scaling.desired) == (4, 4)
    plan = planned(scaled(*fleet_of(5, 36)))
    assert (plan.scaling.raw, plan.scaling.desired) == (4, 5)
    assert not plan.scaling.limits
    assert "not fewer" in plan.scaling.reason


@given(
    clients=st.lists(st.integers(0, 100), min_size=1, max_size=12),
    more=st.integers(0, 100),
    number=st.integers(0, 11),
)
@settings(deadline=None)
def test_more_load_never_means_fewer_nodes(clients: list[int], more: int, number: int) -> None:
    """The number is monotone in what every node carries."""
    fuller = list(clients)
    fuller[number % len(clients)] += more

    def wanted(counts: list[int]) -> int:
        pods = [loaded(f"chat-{n}", count) for n, count in enumerate(counts)]
        return planned(scaled(*pods)).scaling.desired

    assert wanted(fuller) >= wanted(clients)


# --- down ---------------------------------------------------------------------------------------


def test_one_node_goes_if_nothing_speaks_against_it() -> None:
    """The emptiest is cordoned; the rest of the way is gone by later rounds."""
    pods = [*fleet_of(5, 20), loaded("emptiest", 3)]
    plan = planned(scaled(*pods))
    assert plan.scaling.desired == 5
    assert [action.name for action in of(plan, CordonNode)] == ["emptiest"]
    assert "ScaledDown" in told(plan)
    assert limits(plan) == [Limit.DRAIN]
    last = planned(scaled(*fleet_of(3, 1)))
    assert last.scaling.desired == 2
    assert not last.scaling.limits


def unknown(name: str) -> Pod:
    """A node that does not answer, and had a few clients a while ago."""
    return make_pod(name, status=None, load=NodeLoad(5, 0.0, 0.0, NOW - 12))


AGAINST: dict[str, tuple[list[Pod], Limit]] = {
    "a silent node": ([unknown("silent")], Limit.METRICS),
    "a silent node that is not ready": (
        [structs.replace(unknown("silent"), is_ready=False)],
        Limit.METRICS,
    ),
    "a node that was never heard": (
        [make_pod("new", status=None, active_since=None)],
        Limit.METRICS,
    ),
    "a node whose busyness is unknown": ([loaded("old version", busy=None)], Limit.METRICS),
    "a rollout": ([loaded("old", revision=OLD)], Limit.ROLLOUT),
    "a drain": (
        [leaving("going", NodeState.CORDONED, reason=DrainReason.NODE_CORDONED)],
        Limit.DRAIN,
    ),
    "an eviction": (
        [loaded("evicted", 5, deleted_until=NOW + 60)],
        Limit.DRAIN,
    ),
    "a rebalance": (
        [loaded("hot", 5, status=make_status(5, shed_remaining=3))],
        Limit.REBALANCE,
    ),
}


@pytest.mark.parametrize("mode", ["Internal", "External"])
@pytest.mark.parametrize("against", AGAINST)
def test_no_node_goes_while(mode: str, against: str) -> None:
    """Whoever asks for fewer nodes, they wait, and the decision says what for."""
    others, limit = AGAINST[against]
    pods = [*fleet_of(6, 1), *others]
    plan = planned(scaled(*pods, desired=7, mode=mode, spec={"replicas": 2}))
    assert plan.scaling.desired == 7
    assert limits(plan)[0] == limit
    assert not [action for action in of(plan, CordonNode) if action.name.startswith("chat-")]
    assert condition(plan, "ScalingLimited") == ("True", limit)


@pytest.mark.parametrize("mode", ["Internal", "External"])
def test_the_next_one_waits_until_the_last_has_begun_to_go(mode: str) -> None:
    """The number was written down and nobody was cordoned: the operator died, or could not."""
    plan = planned(scaled(*fleet_of(7, 1), desired=6, mode=mode, spec={"replicas": 2}))
    assert plan.scaling.desired == 6
    assert limits(plan)[0] == Limit.DRAIN
    assert "1 nodes more than wanted" in plan.scaling.limits[0].reason
    assert len(of(plan, CordonNode)) == 1


def test_no_node_goes_when_none_serves() -> None:
    """Nothing is known of a cluster all of whose nodes are gone."""
    pod = make_pod("starting", is_ready=False, active_since=None, status=None)
    plan = planned(scaled(pod, desired=3))
    assert plan.scaling.desired == 3
    assert limits(plan)[0] == Limit.METRICS
    assert plan.scaling.needed_to_shrink is None


def test_a_rate_that_is_steered_by_has_to_be_known() -> None:
    """A node that was just met says nothing about deliveries; that matters if they count."""
    pods = [*fleet_of(5, 1), loaded("met", deliveries=None)]
    assert planned(scaled(*pods)).scaling.desired == 5
    plan = planned(scaled(*pods, autoscaling={"targetDeliveriesPerSecond": 10}))
    assert plan.scaling.desired == 6
    assert "not known yet" in plan.scaling.limits[0].reason


@pytest.mark.parametrize("mode", ["Internal", "External"])
def test_those_that_stay_could_lose_one(mode: str) -> None:
    """What counts are nodes that really accept: one that does not start is no help."""
    broken = [make_pod(f"broken-{n}", is_ready=False, active_since=None, status=None) for n in "ab"]
    pods = [*fleet_of(3, 30), *broken]
    plan = planned(scaled(*pods, mode=mode, spec={"replicas": 3}))
    assert plan.scaling.desired == 4
    pods = [*fleet_of(2, 30), *broken]
    plan = planned(scaled(*pods, mode=mode, spec={"replicas": 3}))
    assert plan.scaling.desired == 4
    assert Limit.CAPACITY in limits(plan)
    assert "2 nodes would accept clients, 3 have to" in plan.scaling.limits[0].reason


def test_fewer_nodes_have_to_have_been_enough_for_long() -> None:
    """In Internal: for the whole window, watched without a gap."""
    pods = fleet_of(5, 1)
    early = Watched(0.0, since=NOW - 599, most_needed=2)
    plan = planned(scaled(*pods, watched=early))
    assert limits(plan) == [Limit.STABILIZATION]
    assert "watched for 599 of 600 s" in plan.scaling.limits[0].reason
    unwatched = planned(scaled(*pods, watched=Watched()))
    assert limits(unwatched) == [Limit.STABILIZATION]
    busy = Watched(0.0, since=NOW - 601, most_needed=5)
    plan = planned(scaled(*pods, watched=busy))
    assert limits(plan) == [Limit.STABILIZATION]
    assert "5 nodes were needed" in plan.scaling.limits[0].reason
    assert "ScalingLimited" not in told(plan)
    assert planned(scaled(*pods, watched=replace(busy, most_needed=4))).scaling.desired == 4
    lowered = scaled(*pods, watched=replace(busy, most_needed=9), autoscaling={"maxReplicas": 4})
    assert planned(lowered).scaling.desired == 4


def test_a_lowered_most_number_passes_the_gates() -> None:
    """Lowering maxReplicas takes nodes away as far as the load allows."""
    plan = planned(scaled(*fleet_of(6, 60), autoscaling={"maxReplicas": 4}))
    assert plan.scaling.desired == 6
    assert limits(plan) == [Limit.CAPACITY, Limit.MAX_REPLICAS]


def test_a_stale_answer_lets_nodes_come_and_none_go() -> None:
    """What a silent node had last counts; without it there may be more, but not fewer."""
    silent = make_pod("silent", status=None, load=NodeLoad(90, 0.0, 0.0, NOW - 20))
    plan = planned(scaled(*fleet_of(2, 95), silent))
    assert plan.scaling.inputs.connections == 280
    assert plan.scaling.desired == 5
    assert plan.status.metrics.model_dump() == {"fresh": 2, "stale": 1, "missing": 0}
    assert plan.scaling.needed_to_shrink is not None


def test_a_load_that_is_not_known_is_told() -> None:
    """After staleAfterSeconds the number stays, unless what is known needs more."""
    missing = make_pod("missing", status=None, load=NodeLoad(90, 0.0, 0.0, NOW - 31))
    plan = planned(scaled(*fleet_of(3, 1), missing))
    assert plan.scaling.desired == 4
    assert plan.scaling.needed_to_shrink is None
    assert condition(plan, "ScalingActive") == ("False", "MetricsUnavailable")
    assert condition(plan, "MetricsAvailable") == ("False", "NodesSilent")
    assert {"MetricsUnavailable", "ScalingLimited"} <= told(plan).keys()
    assert plan.status.metrics.model_dump() == {"fresh": 3, "stale": 0, "missing": 1}
    assert planned(scaled(*fleet_of(3, 90), missing)).scaling.desired == 7


def test_a_drain_for_fewer_nodes_waits_when_a_node_falls_silent() -> None:
    """Cordoned, but not drained: nobody is sent to where nobody knows how full it is."""
    going = leaving("going", NodeState.CORDONED, clients=5, reason=DrainReason.SCALE_DOWN)
    plan = planned(scaled(*fleet_of(2, 1), unknown("silent"), going, desired=3))
    assert not of(plan, DrainNode)
    plan = planned(scaled(*fleet_of(3, 1), going, desired=3))
    assert [action.name for action in of(plan, DrainNode)] == ["going"]
    deaf = structs.replace(going, status=None)
    plan = planned(scaled(*fleet_of(3, 1), deaf, desired=3))
    assert plan.scaling.desired == 3


def test_a_drain_is_called_off_when_the_load_comes_back() -> None:
    """More nodes are needed: the one that was to go serves again, before another is made."""
    going = leaving("going", NodeState.DRAINING, clients=50, reason=DrainReason.SCALE_DOWN)
    going = structs.replace(going, load=NodeLoad(50, 0.0, 0.0, NOW))
    plan = planned(scaled(*fleet_of(3, 60), going, desired=3))
    assert plan.scaling.desired == 5
    assert len(of(plan, CreatePod)) == 1
    assert "DrainAborted" in told(plan)


# --- who says how many --------------------------------------------------------------------------


def test_internal_ignores_replicas_and_says_so() -> None:
    """Somebody who sets spec.replicas is told what to set instead."""
    plan = planned(scaled(*fleet_of(3, 40), spec={"replicas": 9}))
    assert plan.scaling.desired == 3
    assert "spec.replicas is 9 and does not count" in told(plan)["ReplicasIgnored"]
    assert "ReplicasIgnored" not in told(planned(scaled(*fleet_of(3, 40), spec={"replicas": 2})))


def test_external_takes_what_is_asked_for_within_bounds() -> None:
    """At once and without a step when it is more."""
    plan = planned(scaled(*fleet_of(2, 1), mode="External", spec={"replicas": 12}))
    assert (plan.scaling.desired, plan.scaling.reason) == (12, "spec.replicas")
    assert condition(plan, "ScalingActive") == ("True", "External")
    assert plan.status.autoscaling
    assert plan.status.autoscaling.mode == "External"
    plan = planned(scaled(*fleet_of(2, 1), mode="External", spec={"replicas": 99}))
    assert plan.scaling.desired == 20
    plan = planned(scaled(*fleet_of(3, 1), mode="External", spec={"replicas": 0}))
    assert plan.scaling.desired == 2
    assert limits(plan) == [Limit.MIN_REPLICAS]


def test_an_old_file_with_fewer_replicas_passes_the_gates() -> None:
    """What would overload the others is not done, and people are told why."""
    plan = planned(scaled(*fleet_of(6, 60), mode="External", spec={"replicas": 2}))
    assert plan.scaling.desired == 6
    assert limits(plan) == [Limit.CAPACITY]
    assert "have to: 360 connections" in told(plan)["ScalingLimited"]


def test_external_needs_no_window() -> None:
    """Whoever asks has a window of their own."""
    plan = planned(
        scaled(*fleet_of(5, 1), mode="External", spec={"replicas": 4}, watched=Watched())
    )
    assert plan.scaling.desired == 4


def test_disabled_takes_replicas() -> None:
    """The status has nothing to say about autoscaling then."""
    plan = planned(scaled(*fleet_of(3, 90), mode="Disabled", spec={"replicas": 3}))
    assert plan.scaling.desired == 3
    assert plan.status.autoscaling is None
    assert condition(plan, "ScalingActive") == ("False", "Disabled")
    assert plan.wake_after_s == 15


def test_what_is_needed_is_known_before_the_operator_is_asked() -> None:
    """In Disabled, too: with Internal set next, no node goes that was needed a moment ago."""
    disabled = planned(scaled(*fleet_of(6, 50), mode="Disabled", spec={"replicas": 6}))
    assert disabled.scaling.needed_to_shrink == 7
    silent = make_pod("silent", status=None)
    unknown_load = scaled(*fleet_of(6, 50), silent, mode="Disabled", spec={"replicas": 7})
    assert planned(unknown_load).scaling.needed_to_shrink is None


def test_rounds_follow_the_interval() -> None:
    """Load that came is decided on within metrics.intervalSeconds."""
    steady = {"minReplicas": 3}
    assert planned(scaled(*fleet_of(3, 1), autoscaling=steady)).wake_after_s == 10
    often = {**steady, "metrics": {"intervalSeconds": 4}}
    assert planned(scaled(*fleet_of(3, 1), autoscaling=often)).wake_after_s == 4


def test_a_paused_cluster_keeps_its_number() -> None:
    """Neither more nor fewer while nothing is done anyway."""
    for clients in (1, 99):
        plan = planned(scaled(*fleet_of(4, clients), spec={"paused": True, "replicas": 9}))
        assert plan.scaling.desired == 4
        assert limits(plan)[0] == Limit.PAUSED
        assert not plan.actions


def test_a_deleted_cluster_has_no_number() -> None:
    """Whatever the mode is."""
    spec = {"drain": {"onDelete": "Drain"}}
    plan = planned(scaled(*fleet_of(3, 90), deleted_at=NOW - 1, has_finalizer=True, spec=spec))
    assert plan.scaling.desired == 0
    assert plan.status.autoscaling is None
    assert "ScaledDown" not in told(plan)


def test_the_number_goes_on_from_where_it_was() -> None:
    """From the status; from that of another mode; else from what is there."""
    pods = fleet_of(5, 50)
    assert planned(scaled(*pods, desired=7)).scaling.previous == 7
    switched = RealtimeClusterStatus(observed_generation=1, desired_replicas=6)
    assert planned(scaled(*pods, status=switched)).scaling.previous == 6
    lost = RealtimeClusterStatus()
    assert planned(scaled(*pods, status=lost)).scaling.previous == 5
    rolling = [*pods, *[loaded(f"old-{n}", revision=OLD) for n in range(4)]]
    assert planned(scaled(*rolling, status=lost)).scaling.previous == 5
    going = leaving("going", NodeState.CORDONED, reason=DrainReason.SCALE_DOWN)
    assert planned(scaled(*pods, going, status=lost)).scaling.previous == 5


# --- what is told -------------------------------------------------------------------------------


def test_every_step_down_is_told() -> None:
    """They follow one another while the spec stays as it is."""
    steps = [
        planned(scaled(*fleet_of(n, 1), mode="External", spec={"replicas": 2})) for n in (5, 4)
    ]
    told_of = {
        (event.reason, event.key)
        for plan in steps
        for event in plan.events
        if event.reason == "ScaledDown"
    }
    assert len(told_of) == 2


def test_the_status_lists_the_last_decisions() -> None:
    """Those that differ in number or limit, ten at most, the present one last with its inputs."""
    pods = tuple(fleet_of(2, 30))
    status = RealtimeClusterStatus()
    for replicas in [2, 2, *range(3, 15), 99]:
        asked = scaled(*pods, mode="External", spec={"replicas": replicas})
        status = planned(replace(asked, status=status)).status
    assert status.autoscaling
    listed = status.autoscaling.decisions
    assert [each.desired for each in listed] == [*range(6, 15), 20]
    last = listed[-1]
    assert (last.previous, last.raw_desired, last.limited_by) == (14, 99, "MaxReplicas")
    assert last.inputs.connections == 60
    assert "autoscaling.maxReplicas is 20" in last.limits[0].reason
    assert len(listed) == KEPT
    fuller = scaled(*fleet_of(2, 31), mode="External", spec={"replicas": 99})
    again = decide(replace(fuller, status=status), NOW + 10).status
    assert again.autoscaling
    newest = again.autoscaling.decisions[-1]
    assert (newest.time, newest.previous) == (last.time, last.previous)
    assert newest.inputs.connections == 62


def test_the_same_change_is_told_again_when_it_happens_again() -> None:
    """A number that goes up, down and up again in a day is told each time."""
    snapshot = scaled(*fleet_of(2, 95))
    keys = {
        event.key
        for now in (NOW, NOW + 5, NOW + 7200)
        for event in decide(snapshot, now).events
        if event.reason == "ScaledUp"
    }
    assert len(keys) == 2
