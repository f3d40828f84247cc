"""The rules by which handshakes are let in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.admission.admit import (
    REFUSALS,
    Bounds,
    Decision,
    Facts,
    Reason,
    RetryRange,
    Verdict,
    admit,
    retry_after_s,
    sheds,
)
from realtime_node.telemetry.metrics import REFUSED

BOUNDS = Bounds(max_connections=100, max_waiting=10, wait_s=5)
QUIET = Facts(
    is_cordoned=False,
    is_shedding=False,
    connections=50,
    waiting=0,
    address_wait_s=0,
    turn_wait_s=0,
)


@pytest.mark.parametrize(
    ("facts", "verdict", "reason"),
    [
        (QUIET, Verdict.ACCEPT, Reason.OPEN),
        (QUIET._replace(is_cordoned=True), Verdict.REFUSE, Reason.CORDONED),
        (QUIET._replace(connections=99), Verdict.ACCEPT, Reason.OPEN),
        (QUIET._replace(connections=100), Verdict.REFUSE, Reason.MAX_CONNECTIONS),
        (QUIET._replace(connections=95, waiting=5), Verdict.REFUSE, Reason.MAX_CONNECTIONS),
        (QUIET._replace(is_shedding=True), Verdict.REFUSE, Reason.LOOP_LAG),
        (QUIET._replace(address_wait_s=0.1), Verdict.REFUSE, Reason.PER_IP),
        (QUIET._replace(turn_wait_s=0.1), Verdict.WAIT, Reason.TURN),
        (QUIET._replace(turn_wait_s=5), Verdict.WAIT, Reason.TURN),
        (QUIET._replace(turn_wait_s=5.1), Verdict.REFUSE, Reason.RATE),
        (QUIET._replace(turn_wait_s=None), Verdict.WAIT, Reason.TURN),
        (QUIET._replace(waiting=1), Verdict.WAIT, Reason.TURN),
        (QUIET._replace(waiting=9), Verdict.WAIT, Reason.TURN),
        (QUIET._replace(waiting=10), Verdict.REFUSE, Reason.ROOM_FULL),
    ],
)
def test_each_rule(facts: Facts, verdict: Verdict, reason: Reason) -> None:
    """Every rule decides by itself, at its very bound."""
    assert admit(facts, BOUNDS)[:2] == (verdict, reason)


def test_rules_come_in_their_order() -> None:
    """Where several refuse, the one that says most about the node is told."""
    facts = Facts(
        is_cordoned=True,
        is_shedding=True,
        connections=100,
        waiting=10,
        address_wait_s=1,
        turn_wait_s=9,
    )
    reasons = []
    for mended in (
        {"is_cordoned": False},
        {"connections": 0},
        {"is_shedding": False},
        {"address_wait_s": 0},
        {"waiting": 0},
        {},
    ):
        reasons.append(admit(facts, BOUNDS).reason)
        facts = facts._replace(**mended)
    assert reasons == list(REFUSALS)


def test_no_bound_on_connections() -> None:
    """0 is any number."""
    assert admit(QUIET._replace(connections=10**6), Bounds()).verdict is Verdict.ACCEPT


def test_a_refusal_says_when_its_reason_may_be_gone() -> None:
    """The address's next token, or the turn that would have come too late."""
    assert admit(QUIET._replace(address_wait_s=3), BOUNDS).clears_in_s == 3
    late = QUIET._replace(turn_wait_s=8)
    assert admit(late, BOUNDS) == Decision(Verdict.REFUSE, Reason.RATE, 8)
    assert admit(late._replace(waiting=10), BOUNDS).clears_in_s == 8


def test_every_refusal_has_its_counter() -> None:
    """The metric knows each reason before it happens for the first time."""
    assert {reason.value for reason in REFUSALS} == set(REFUSED)


@given(
    st.floats(0, 1000), st.integers(1, 60), st.integers(2, 10), st.floats(0, 1, exclude_max=True)
)
def test_retry_after_is_spread_within_its_range(
    clears_in_s: float, least: int, factor: int, random: float
) -> None:
    """Whatever is estimated, it stays in range, and the earliest and the latest differ."""
    between = RetryRange(least, least * factor)
    low, high = (retry_after_s(clears_in_s, between, each) for each in (0.0, math.nextafter(1, 0)))
    assert least <= low < high <= least * factor
    assert low <= retry_after_s(clears_in_s, between, random) <= high
    if clears_in_s < least * factor / 2:
        assert low >= round(clears_in_s)


def test_shedding_begins_at_the_limit_and_ends_at_half_of_it() -> None:
    """A loop that gets a little better by shedding goes on shedding."""
    states, shedding = [], False
    for lag_s in (0.3, 0.5, 0.51, 0.4, 0.26, 0.25, 0.4, 0.6, 0.0):
        shedding = sheds(shedding, lag_s, 0.5)
        states.append(shedding)
    assert states == [False, False, True, True, True, False, False, True, False]


def test_no_limit_never_sheds() -> None:
    """0 is however late."""
    assert not sheds(False, 1e9, 0)
    assert not sheds(True, 1e9, 0)
