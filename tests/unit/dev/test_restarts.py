"""When a node that died is started again."""

from __future__ import annotations

from realtime_node.dev.restarts import (
    FIRST_DELAY_S,
    HEALTHY_AFTER_S,
    LONGEST_DELAY_S,
    MOST_FAILURES,
    decide_restart,
)


def test_a_node_that_was_up_for_a_while_comes_back_at_once() -> None:
    """Whatever failed before, a healthy life ends the row of failures."""
    restart = decide_restart(MOST_FAILURES - 1, HEALTHY_AFTER_S)
    assert (restart.failures, restart.delay_s) == (1, FIRST_DELAY_S)


def test_each_failure_in_a_row_waits_longer_up_to_a_bound() -> None:
    """Delays double, and never exceed the longest."""
    delays = [decide_restart(before, 0).delay_s for before in range(MOST_FAILURES - 1)]
    assert delays[:3] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S]
    assert delays == sorted(delays, key=lambda delay: delay or 0)
    assert delays[-1] == LONGEST_DELAY_S


def test_a_node_that_never_stays_up_is_given_up() -> None:
    """After so many failures in a row there is no further try, and the reason says so."""
    restart = decide_restart(MOST_FAILURES - 1, HEALTHY_AFTER_S - 0.1)
    assert restart.delay_s is None
    assert str(MOST_FAILURES) in restart.reason
