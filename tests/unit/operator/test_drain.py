"""The life of a node: its table, and the signals that lead through it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from realtime_operator.build import names
from realtime_operator.decide.drain import (
    FORCING_GRACE_S,
    TABLE,
    Signal,
    Step,
    Wish,
    has_propagated,
    state_of,
    step,
)
from realtime_operator.decide.snapshot import DrainReason, DrainRecord, NodeState, Pod
from tests.support.simulated_cluster import make_spec
from tests.unit.operator.fleets import (
    NOW,
    leaving,
    make_pod,
    make_record,
    make_status,
)

AWAY = Wish(is_wanted_away=True, may_cordon=True, may_drain=True, reason="it is wanted away")
NOT_YET = Wish(is_wanted_away=True, reason="not yet")
STAYS = Wish(reason="it is wanted")
WAIT = {"deadlinePolicy": "Wait", "propagationSeconds": 5, "windowSeconds": 30}


def taken(pod: Pod, wish: Wish, **spec: Any) -> Step:
    """The step of a Pod."""
    return step(pod, wish, make_spec(**spec), NOW)


def test_every_state_but_the_last_leads_on() -> None:
    """From every state that is decided about a path leads to Drained, where the Pod is deleted."""
    reached = {NodeState.DRAINED}
    for _ in TABLE:
        reached |= {before for (before, _), after in TABLE.items() if after in reached}
    assert reached == set(NodeState) - {NodeState.TERMINATING}


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (make_pod(active_since=None, is_ready=False, status=None), NodeState.PENDING),
        (make_pod(active_since=None), NodeState.WARMING),
        (make_pod(active_since=None, status=make_status(1)), NodeState.ACTIVE),
        (make_pod(), NodeState.ACTIVE),
        (leaving("x", NodeState.CORDONED), NodeState.CORDONED),
        (leaving("x", NodeState.DRAINED, deleted_until=NOW), NodeState.TERMINATING),
    ],
)
def test_the_state_follows_from_the_pod(pod: Pod, state: NodeState) -> None:
    """Annotations tell a drain, the Pod itself the rest; clients make a node active."""
    assert state_of(pod) == state


@pytest.mark.parametrize(
    ("pod", "wish", "signal", "after"),
    [
        (make_pod(), STAYS, None, NodeState.ACTIVE),
        (make_pod(), NOT_YET, None, NodeState.ACTIVE),
        (make_pod(), AWAY, Signal.WANTED, NodeState.CORDONED),
        (make_pod(active_since=None), NOT_YET, Signal.WANTED, NodeState.DRAINED),
        (make_pod(active_since=None), STAYS, Signal.SETTLED, NodeState.ACTIVE),
        (make_pod(active_since=None, ready_changed_at=NOW - 1), STAYS, None, NodeState.WARMING),
        (make_pod(active_since=None, is_ready=False, status=None), STAYS, None, NodeState.PENDING),
        (leaving("x", NodeState.CORDONED, clients=1), STAYS, Signal.WITHDRAWN, NodeState.ACTIVE),
        (leaving("x", NodeState.CORDONED, clients=1), NOT_YET, None, NodeState.CORDONED),
        (leaving("x", NodeState.CORDONED, clients=1), AWAY, Signal.ADMITTED, NodeState.DRAINING),
        (leaving("x", NodeState.CORDONED), NOT_YET, Signal.EMPTY, NodeState.DRAINED),
        (
            leaving(
                "x", NodeState.CORDONED, drain=make_record(NodeState.CORDONED, cordoned_at=NOW)
            ),
            AWAY,
            None,
            NodeState.CORDONED,
        ),
        (leaving("x", NodeState.DRAINING, clients=1), AWAY, None, NodeState.DRAINING),
        (leaving("x", NodeState.DRAINING, clients=1), STAYS, Signal.WITHDRAWN, NodeState.ACTIVE),
        (leaving("x", NodeState.DRAINING), STAYS, Signal.EMPTY, NodeState.DRAINED),
        (leaving("x", NodeState.FORCING, clients=1), AWAY, None, NodeState.FORCING),
        (leaving("x", NodeState.FORCING), AWAY, Signal.EMPTY, NodeState.DRAINED),
        (leaving("x", NodeState.DRAINED), AWAY, None, NodeState.DRAINED),
        (make_pod(deleted_until=NOW), AWAY, None, NodeState.TERMINATING),
    ],
)
def test_a_step(pod: Pod, wish: Wish, signal: Signal | None, after: NodeState) -> None:
    """What was seen of a node leads to the next state, or to none."""
    found = taken(pod, wish)
    assert (found.signal, found.after) == (signal, after)
    assert found.reason or signal is None


def test_time_is_up() -> None:
    """At the deadline clients are forced, get as long again, or are waited for no longer."""
    late = make_record(NodeState.DRAINING, deadline=NOW)
    pod = leaving("x", NodeState.DRAINING, clients=3, drain=late)
    assert taken(pod, AWAY).signal is Signal.DEADLINE
    assert "3 clients" in taken(pod, AWAY).reason
    assert taken(pod, AWAY, drain=WAIT).signal is Signal.EXTENDED
    silent = leaving("x", NodeState.DRAINING, drain=late, status=None)
    assert taken(silent, AWAY, drain=WAIT).signal is Signal.DEADLINE
    by_itself = make_status(3, accepting=False, drain_phase="forcing")
    early = leaving("x", NodeState.DRAINING, status=by_itself)
    assert taken(early, AWAY, drain=WAIT).signal is Signal.DEADLINE


@pytest.mark.parametrize("policy", ["Force", "Wait"])
def test_a_node_that_takes_no_orders_is_not_waited_for(policy: str) -> None:
    """At the deadline its Pod goes, and SIGTERM drains it; if it was told at all until then."""
    late = make_record(NodeState.DRAINING, deadline=NOW)
    drain = {"windowSeconds": 30, "deadlinePolicy": policy}
    for phase in ("serving", "cordoned"):
        deaf = leaving("x", NodeState.DRAINING, drain=late)
        deaf = replace(deaf, status=make_status(3, drain_phase=phase, phase_s=30))
        assert taken(deaf, AWAY, drain=drain).signal is Signal.GIVEN_UP
        just_met = replace(deaf, status=make_status(3, drain_phase=phase, phase_s=29))
        assert taken(just_met, AWAY, drain=drain).signal is not Signal.GIVEN_UP


def test_forcing_ends() -> None:
    """A node that does not get rid of its clients goes all the same."""
    over = make_record(NodeState.FORCING, deadline=NOW - FORCING_GRACE_S)
    assert taken(leaving("x", NodeState.FORCING, clients=1, drain=over), AWAY).signal is (
        Signal.GIVEN_UP
    )


def test_a_restarted_container_has_lost_its_clients() -> None:
    """With another boot id, or no process at all, nothing is left to drain."""
    other = make_status(5, boot_id="another")
    assert taken(leaving("x", NodeState.DRAINING, status=other), AWAY).signal is Signal.EMPTY
    crashed = leaving("x", NodeState.DRAINING, status=None, problem="CrashLoopBackOff")
    assert taken(crashed, AWAY).signal is Signal.EMPTY
    silent = leaving("x", NodeState.DRAINING, status=None)
    assert taken(silent, AWAY).signal is None


def test_propagation_waits_for_quiet() -> None:
    """A node that let somebody in lately is waited for, or its word that it is shut, later."""
    spec = make_spec()
    assert not has_propagated(make_pod(), spec, NOW)

    def cordoned(ago_s: float, **status: Any) -> Pod:
        record = make_record(NodeState.CORDONED, cordoned_at=NOW - ago_s)
        return leaving("x", NodeState.CORDONED, drain=record, status=make_status(1, **status))

    assert not has_propagated(cordoned(4), spec, NOW)
    assert has_propagated(cordoned(5), spec, NOW)
    assert not has_propagated(cordoned(14, quiet_s=1, accepting=False), spec, NOW)
    assert not has_propagated(cordoned(15, quiet_s=1, accepting=True), spec, NOW)
    assert has_propagated(cordoned(15, quiet_s=1, accepting=False), spec, NOW)
    assert has_propagated(leaving("x", NodeState.CORDONED, status=None), spec, NOW)


def test_a_record_survives_in_annotations() -> None:
    """What is written into a Pod's annotations is read from them again, by any operator."""
    record = make_record(NodeState.DRAINING, DrainReason.SCALE_DOWN)
    assert DrainRecord.read({k: v for k, v in record.annotations().items() if v}) == record
    cordoned = make_record(NodeState.CORDONED)
    assert DrainRecord.read({k: v for k, v in cordoned.annotations().items() if v}) == cordoned


@pytest.mark.parametrize(
    "broken",
    [
        {names.DRAIN_STATE: "Lost"},
        {names.DRAIN_STATE: "Pending"},
        {names.DRAIN_STATE: "Warming"},
        {names.DRAIN_STATE: "Active"},
        {names.DRAIN_STATE: "Terminating"},
        {names.DRAIN_CORDONED_AT: "now"},
        {names.DRAIN_CORDONED_AT: "nan"},
        {names.DRAIN_DEADLINE: "inf"},
    ],
)
def test_a_record_that_makes_no_sense_is_none(broken: dict[str, str]) -> None:
    """Annotations that somebody has spoiled are no drain: it begins anew."""
    good = {k: v for k, v in make_record(NodeState.CORDONED).annotations().items() if v}
    assert DrainRecord.read({**good, **broken}) is None
    assert DrainRecord.read({}) is None


def test_reasons_have_an_order() -> None:
    """Evictions come first, and a scale-down last."""
    assert sorted(DrainReason, key=lambda reason: reason.rank) == [
        DrainReason.EVICTION,
        DrainReason.NODE_CORDONED,
        DrainReason.DELETE,
        DrainReason.REFUSES,
        DrainReason.ROLLOUT,
        DrainReason.SCALE_DOWN,
    ]
