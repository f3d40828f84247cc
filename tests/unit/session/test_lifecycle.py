"""A session's states and deadlines, on paper: no session is needed to decide them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.protocol import codes
from realtime_node.session.lifecycle import (
    NEVER,
    TRANSITIONS,
    Action,
    Deadlines,
    Event,
    Limits,
    State,
    Step,
    connected,
    next_step,
    opened,
)

LIMITS = Limits(stale_after=10, ping_interval=25, pong_timeout=8, expiry_grace=25)
moments = st.floats(0, 1000) | st.just(NEVER)


# --- the table --------------------------------------------------------------------------------


def test_every_state_but_the_last_can_be_left_by_a_close() -> None:
    """Whatever a session is doing, it can be closed, once."""
    for state in State:
        expected = None if state is State.CLOSED else State.CLOSED
        assert TRANSITIONS.get((state, Event.CLOSE)) is expected


def test_nothing_leads_out_of_closed() -> None:
    """A closed session stays closed."""
    assert not [state for state, _ in TRANSITIONS if state is State.CLOSED]


def test_a_session_connects_once() -> None:
    """No event leads from connected to anything but closed."""
    assert [TRANSITIONS.get((State.CONNECTED, event)) for event in Event] == [
        State.CLOSED if event is Event.CLOSE else None for event in Event
    ]


# --- deadlines --------------------------------------------------------------------------------


def test_opened_session_has_to_connect() -> None:
    """A session without a connect is closed as stale when its time is up, not before."""
    deadlines = opened(LIMITS, now=100)
    assert deadlines.earliest() == 110
    assert next_step(deadlines, LIMITS, 109.9) == Step(Action.WAIT)
    assert next_step(deadlines, LIMITS, 110) == Step(Action.CLOSE, codes.STALE)


@given(st.floats(0, 1, exclude_max=True))
def test_first_ping_is_in_the_second_half_of_the_interval(spread: float) -> None:
    """Clients that come together are not pinged together."""
    deadlines = connected(LIMITS, now=100, spread=spread)
    assert 112.5 <= deadlines.earliest() <= 125


def test_connected_session_without_pings_waits_for_nothing() -> None:
    """Without pings there is no deadline at all."""
    limits = Limits(stale_after=10, ping_interval=0, pong_timeout=0, expiry_grace=25)
    deadlines = connected(limits, now=100, spread=0.5)
    assert deadlines.earliest() == NEVER
    assert next_step(deadlines, limits, 1e9) == Step(Action.WAIT)


def test_ping_expects_a_pong() -> None:
    """A ping sets the deadlines of its pong and of the next ping."""
    deadlines = Deadlines(ping=100)
    assert next_step(deadlines, LIMITS, 101) == Step(Action.PING)
    assert (deadlines.pong, deadlines.ping) == (109, 126)
    assert next_step(deadlines, LIMITS, 108.9) == Step(Action.WAIT)
    assert next_step(deadlines, LIMITS, 109) == Step(Action.CLOSE, codes.NO_PONG)


def test_ping_without_a_pong_timeout_expects_nothing() -> None:
    """Where no pong is asked for, none is missed."""
    limits = Limits(stale_after=10, ping_interval=25, pong_timeout=0, expiry_grace=25)
    deadlines = Deadlines(ping=100)
    assert next_step(deadlines, limits, 100) == Step(Action.PING)
    assert deadlines.pong == NEVER


def test_expired_subscriptions_are_looked_for_once() -> None:
    """The deadline is spent: whoever looked sets the next one."""
    deadlines = Deadlines(sub_expiry=100)
    assert next_step(deadlines, LIMITS, 100) == Step(Action.EXPIRE_SUBSCRIPTIONS)
    assert next_step(deadlines, LIMITS, 100) == Step(Action.WAIT)


def test_a_close_goes_before_everything_else() -> None:
    """A session that is over sends no ping any more."""
    deadlines = Deadlines(ping=1, pong=1, expiry=1, sub_expiry=1)
    assert next_step(deadlines, LIMITS, 1) == Step(Action.CLOSE, codes.NO_PONG)
    deadlines.pong = NEVER
    assert next_step(deadlines, LIMITS, 1) == Step(Action.CLOSE, codes.CONNECTION_EXPIRED)


@given(
    st.builds(
        Deadlines, stale=moments, ping=moments, pong=moments, expiry=moments, sub_expiry=moments
    ),
    st.floats(0, 1000),
)
def test_something_is_done_exactly_when_something_is_due(deadlines: Deadlines, now: float) -> None:
    """No deadline is missed, none is met early, and what is done is due no more."""
    due = deadlines.earliest() <= now
    for _ in range(3):
        step = next_step(deadlines, LIMITS, now)
        assert (step.action is not Action.WAIT) == due
        assert (step.close is not None) == (step.action is Action.CLOSE)
        if step.action is Action.CLOSE:
            return
        due = deadlines.earliest() <= now
    assert not due


@given(
    spread=st.floats(0, 1, exclude_max=True),
    lateness=st.lists(st.floats(0, 0.5), min_size=1, max_size=40),
    answers=st.lists(st.floats(0, 7.5), min_size=40, max_size=40),
)
def test_pings_keep_their_distance(
    spread: float, lateness: list[float], answers: list[float]
) -> None:
    """A client that answers in time is pinged once per interval, however late it is looked at."""
    deadlines = connected(LIMITS, now=0, spread=spread)
    pings = []
    for late, answer in zip(lateness, answers, strict=False):
        now = deadlines.earliest() + late
        assert next_step(deadlines, LIMITS, now) == Step(Action.PING)
        pings.append(now)
        assert deadlines.pong == now + 8
        assert next_step(deadlines, LIMITS, now + answer).action is Action.WAIT
        deadlines.pong = NEVER
    for one, other in itertools.pairwise(pings):
        assert 25 - 1e-9 <= other - one <= 25.5 + 1e-9


@pytest.mark.parametrize("name", Deadlines.__struct_fields__)
def test_every_deadline_counts_for_the_earliest(name: str) -> None:
    """A deadline that `earliest` forgot would never be met."""
    assert Deadlines(**{name: 5.0}).earliest() == 5
    assert next_step(Deadlines(**{name: 5.0}), LIMITS, 5).action is not Action.WAIT
