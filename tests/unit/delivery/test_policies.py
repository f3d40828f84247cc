"""What each policy does with a message for a client that does not take its messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.delivery.policies import (
    NO_GROWTH,
    Action,
    Growth,
    Load,
    Reason,
    decide,
)

NOW = 1000.0
BOUNDED = (Policy.QUEUE, Policy.LATEST)


def rule(policy: Policy) -> SlowRule:
    """A policy with small bounds."""
    return SlowRule(policy=policy, max_messages=10, max_bytes=100, max_age_s=5)


@pytest.mark.parametrize("policy", BOUNDED)
@pytest.mark.parametrize(
    ("load", "growth", "reason"),
    [
        (Load(9, 50, NOW), Growth(1, 50), None),
        (Load(10, 50, NOW), Growth(1, 1), Reason.MESSAGES),
        (Load(1, 51, NOW), Growth(1, 50), Reason.BYTES),
        (Load(10, 200, NOW), Growth(0, -1), None),
        (Load(), Growth(11, 101), None),
    ],
)
def test_bounds_hold_exactly(
    policy: Policy, load: Load, growth: Growth, reason: Reason | None
) -> None:
    """Up to each bound a message is kept, beyond it the client is closed and the bound is named.

    A message that meets an empty queue is kept whatever its size, and so is a smaller value in the
    place of a larger one.
    """
    verdict = decide(rule(policy), load, growth, NOW)
    assert verdict == (
        (Action.KEEP, Reason.CONGESTED) if reason is None else (Action.CLOSE, reason)
    )


@pytest.mark.parametrize("growth", [NO_GROWTH, Growth(1, 1)])
def test_only_a_queue_grows_too_old(growth: Growth) -> None:
    """What waits too long in a queue closes the client, whether or not more comes."""
    in_time, too_late = Load(1, 1, NOW - 5), Load(1, 1, NOW - 5.001)
    assert decide(rule(Policy.QUEUE), in_time, growth, NOW).action is Action.KEEP
    assert decide(rule(Policy.QUEUE), too_late, growth, NOW) == (Action.CLOSE, Reason.AGE)
    assert decide(rule(Policy.LATEST), too_late, growth, NOW).action is Action.KEEP


@given(
    st.builds(Load, st.integers(0, 20), st.integers(0, 200), st.floats(0, NOW)),
    st.builds(Growth, st.integers(0, 20), st.integers(0, 200)),
)
def test_drop_and_disconnect_look_at_nothing(load: Load, growth: Growth) -> None:
    """Dropping skips and disconnecting closes, whatever waits and whatever comes."""
    assert decide(rule(Policy.DROP), load, growth, NOW).action is Action.SKIP
    assert decide(rule(Policy.DISCONNECT), load, growth, NOW) == (Action.CLOSE, Reason.CONGESTED)
