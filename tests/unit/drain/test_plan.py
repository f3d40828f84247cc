"""What a node that is to be emptied does next, at any time and whatever was asked before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.drain.orders import aborted, ending, hurried, ordered
from realtime_node.drain.plan import (
    NEVER,
    TRANSITIONS,
    UNLIMITED,
    Action,
    Event,
    Facts,
    Order,
    Phase,
    Plan,
    extended,
    moved,
    next_step,
)

DRAIN = Order(is_to_empty=True, reason="rollout")
CORDON = Order(is_to_empty=False, reason="rollout")


def facts(remaining: int = 100, **changes: Any) -> Facts:
    """A node that nobody came to for long."""
    return Facts(
        **{
            "remaining": remaining,
            "accepted_at": -1000.0,
            "propagation_s": 3.0,
            "leased_per_s": UNLIMITED,
            **changes,
        }
    )


def settled(plan: Plan, known: Facts, now: float) -> Plan:
    """Make every move that is due."""
    for _ in range(10):
        step = next_step(plan, known, now)
        if step.event is None:
            return plan
        plan = moved(plan, step.event, now)
    raise AssertionError(f"it never settles: {plan}")


def draining(order: Order = DRAIN, *, now: float = 0.0) -> Plan:
    """A node whose propagation is over at `now` + 3."""
    return settled(ordered(Plan(), order, now), facts(), now + 3)


# --- the way ----------------------------------------------------------------------------------


def test_a_node_serves_until_it_is_asked() -> None:
    """Nothing is done, and nothing is due."""
    assert next_step(Plan(), facts(), 5.0).action is Action.WAIT
    assert next_step(Plan(), facts(), 5.0).wake_at == NEVER


def test_a_cordon_keeps_the_clients() -> None:
    """The door is shut for as long as nobody asks for more."""
    plan = ordered(Plan(), CORDON, 0.0)
    assert plan.phase is Phase.CORDONED
    assert settled(plan, facts(), 1e6) == plan


def test_closing_begins_after_the_propagation() -> None:
    """Balancers get their time first; it counts from when the door was shut."""
    plan = ordered(Plan(), DRAIN, 10.0)
    step = next_step(plan, facts(), 10.0)
    assert (step.action, step.wake_at) == (Action.WAIT, 13.0)
    assert settled(plan, facts(), 12.9).phase is Phase.CORDONED
    assert settled(plan, facts(), 13.0).phase is Phase.DRAINING
    cordoned = ordered(Plan(), CORDON, 0.0)
    assert settled(ordered(cordoned, DRAIN, 50.0), facts(), 50.0).phase is Phase.DRAINING


def test_closing_waits_for_the_last_who_came_in() -> None:
    """A handshake that was under way when the door was shut is let through."""
    plan = ordered(Plan(), DRAIN, 0.0)
    assert next_step(plan, facts(accepted_at=2.0), 3.0).wake_at == 5.0


def test_an_empty_node_waits_for_nothing() -> None:
    """Without clients there is nobody whom a balancer could send back."""
    plan = settled(ordered(Plan(), DRAIN, 0.0), facts(0), 0.0)
    assert plan.phase is Phase.DRAINED
    assert settled(plan, facts(0), 1.0) == plan


def test_a_latecomer_is_closed_as_well() -> None:
    """Whoever is found on a drained node makes it drain on."""
    plan = settled(draining(), facts(0), 5.0)
    assert settled(plan, facts(1), 6.0).phase is Phase.DRAINING


# --- how fast ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "rate"),
    [
        (DRAIN, UNLIMITED),
        (Order(is_to_empty=True, rate_per_s=7), 7),
        (Order(is_to_empty=True, window_s=50), 2),
        (Order(is_to_empty=True, window_s=50, rate_per_s=1.5), 1.5),
        (Order(is_to_empty=True, window_s=50, rate_per_s=30), 2),
        (Order(is_to_empty=True, window_s=50, deadline_s=23), 5),
        (Order(is_to_empty=True, deadline_s=23), UNLIMITED),
    ],
)
def test_the_rate_is_what_the_window_needs_and_no_more_than_asked(
    order: Order, rate: float
) -> None:
    """A hundred clients at second 3; a deadline within the window makes it shorter."""
    step = next_step(draining(order), facts(100), 3.0)
    assert step.action is Action.CLOSE
    assert step.rate_per_s == pytest.approx(rate)


def test_a_deadline_is_moved_rather_than_the_budget_broken() -> None:
    """What is left then goes at the leased rate; the window is past, and the rate still holds."""
    order = Order(is_to_empty=True, window_s=20, deadline_s=20, rate_per_s=50)
    plan, known = draining(order), facts(400, leased_per_s=10)
    assert next_step(plan, known, 20.0).action is Action.EXTEND
    plan = extended(plan, known, 20.0)
    assert plan.deadline_at == 60.0
    step = next_step(plan, known, 20.0)
    assert (step.action, step.rate_per_s, step.wake_at) == (Action.CLOSE, 50, 60.0)


# --- levels, not events -----------------------------------------------------------------------


@pytest.mark.parametrize("order", [DRAIN, CORDON, Order(is_to_empty=True, window_s=9)])
def test_the_same_order_again_changes_nothing(order: Order) -> None:
    """In whatever phase it is repeated."""
    for now in (0.0, 1.0, 5.0):
        plan = settled(ordered(Plan(), order, 0.0), facts(), now)
        assert ordered(plan, order, now + 1) is plan
    drained = settled(ordered(Plan(), order, 0.0), facts(0), 1.0)
    assert ordered(drained, order, 9.0) is drained


def test_a_changed_order_counts_from_the_beginning() -> None:
    """A deadline is not put off by asking for it later."""
    plan = draining()
    plan = ordered(plan, Order(is_to_empty=True, deadline_s=60), 30.0)
    assert (plan.phase, plan.deadline_at) == (Phase.DRAINING, 60.0)


def test_a_drain_pauses_and_goes_on() -> None:
    """A cordon asked for while clients are closed keeps those who are left; no second wait."""
    plan = ordered(draining(), CORDON, 20.0)
    assert (plan.phase, settled(plan, facts(), 1e6)) == (Phase.CORDONED, plan)
    assert settled(ordered(plan, DRAIN, 30.0), facts(), 30.0).phase is Phase.DRAINING


PLANS = {
    "serving": Plan(),
    "cordoned": ordered(Plan(), CORDON, 0.0),
    "propagating": ordered(Plan(), DRAIN, 0.0),
    "draining": draining(),
    "drained": settled(draining(), facts(0), 4.0),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_abort_makes_a_node_serve_again(plan: Plan) -> None:
    """From every phase, and nothing of the drain is left."""
    assert aborted(plan) == Plan()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_process_that_ends_cannot_serve_again(plan: Plan) -> None:
    """Neither an abort nor a cordon keeps it."""
    plan = ending(plan, 30.0, 10.0)
    assert aborted(plan) is plan
    kept = ordered(plan, CORDON, 11.0)
    assert kept.order is not None
    assert kept.order.is_to_empty
    assert kept.end == plan.end


# --- the end of the process -------------------------------------------------------------------


def test_the_grace_has_room_for_forcing_and_goodbyes() -> None:
    """Of 30 s the last six are for goodbyes, and the five before them for those who are left."""
    end = ending(Plan(), 30.0, 100.0).end
    assert end is not None
    assert (end.force_at, end.closed_by, end.exit_at) == (119.0, 124.0, 130.0)


def test_a_signal_drains() -> None:
    """It shuts the door, waits for balancers, and closes as fast as the budget allows."""
    plan = ending(Plan(), 30.0, 0.0)
    assert plan.phase is Phase.CORDONED
    plan = settled(plan, facts(), 3.0)
    step = next_step(plan, facts(), 3.0)
    assert (step.action, step.rate_per_s, step.wake_at) == (Action.CLOSE, UNLIMITED, 19.0)


def test_a_signal_during_a_drain_only_brings_the_deadline_nearer() -> None:
    """No second propagation; the asked rate holds unless it is too slow for the grace."""
    plan = ending(draining(Order(is_to_empty=True, rate_per_s=2)), 30.0, 100.0)
    assert plan.phase is Phase.DRAINING
    assert plan.deadline_at == 124.0
    assert next_step(plan, facts(19), 100.0).rate_per_s == 2
    assert next_step(plan, facts(190), 100.0).rate_per_s == pytest.approx(10)
    nearer = draining(Order(is_to_empty=True, deadline_s=20))
    assert ending(nearer, 30.0, 0.0).deadline_at == 20.0


def test_a_second_signal_hurries() -> None:
    """All are closed within a second and a half, whatever was left of the grace."""
    plan = hurried(ending(Plan(), 30.0, 0.0), 1.0)
    assert settled(plan, facts(), 1.0).phase is Phase.FORCING
    assert plan.end is not None
    assert (plan.end.closed_by, plan.end.exit_at) == (2.5, 5.5)
    late = hurried(ending(Plan(), 30.0, 0.0), 23.5)
    assert late.end is not None
    assert (late.end.closed_by, late.end.exit_at) == (24.0, 28.0)


def test_forcing_begins_even_before_the_propagation_is_over() -> None:
    """A grace shorter than the propagation leaves no time for it."""
    plan = ending(Plan(), 3.0, 0.0)
    step = next_step(plan, facts(propagation_s=60), 0.0)
    assert plan.end is not None
    assert step.wake_at == plan.end.force_at == pytest.approx(1.75)
    assert settled(plan, facts(propagation_s=60), step.wake_at).phase is Phase.FORCING


@given(
    grace_s=st.floats(0.01, 600),
    propagation_s=st.floats(0, 100),
    remaining=st.integers(1, 100_000),
    order=st.none()
    | st.builds(
        Order,
        is_to_empty=st.booleans(),
        rate_per_s=st.floats(0.01, 1e4),
        window_s=st.none() | st.floats(0, 1e4),
        deadline_s=st.none() | st.floats(0, 1e4),
    ),
)
def test_a_process_always_ends_within_its_grace(
    grace_s: float, propagation_s: float, remaining: int, order: Order | None
) -> None:
    """Whatever was asked for before, it forces in time even if no client could be closed."""
    known = facts(remaining, propagation_s=propagation_s)
    plan = ordered(Plan(), order, 0.0) if order is not None else Plan()
    plan = ending(settled(plan, known, 50.0), grace_s, 50.0)
    assert plan.end is not None
    assert 50.0 < plan.end.force_at < plan.end.closed_by < plan.end.exit_at <= 50.0 + grace_s
    now, woken = 50.0, 0
    force_at = plan.end.force_at
    while (plan := settled(plan, known, now)).phase is not Phase.FORCING:
        step = next_step(plan, known, now)
        assert step.wake_at <= force_at
        now, woken = max(step.wake_at, now), woken + 1
        assert woken < 10
    assert now == force_at


def test_every_event_has_its_way() -> None:
    """The table leads from every phase to serving or to the end, and names no others."""
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert (Phase.FORCING, Event.ABORT) not in TRANSITIONS
