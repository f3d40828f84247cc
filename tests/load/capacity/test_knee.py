"""Where the knee of a ramp is, shown by ramps that were recorded and by nodes made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.capacity.knee import (
    MOST_STEPS,
    TRIES_DISTURBED,
    Bounds,
    Knee,
    Ramp,
    Step,
    Try,
    decide,
    is_to_be_tried_again,
    knee_of_growth,
)

BOUNDS = Bounds()
RAMP = Ramp(40_000)

# Kept from a run on two cores that other programs used as well, loads to a tenth: deliveries per
# second at one publication per frame, and connects per second.
DELIVERIES = [
    Step(40_000.0, 39_777.0, 61.6, 49.9, 28, waiting_percent=31),
    Step(40_000.0, 40_000.0, 123.9, 497.7, 24, waiting_percent=74),
    Step(40_000.0, 40_000.0, 27.4, 20.6, 32, waiting_percent=15),
    Step(64_000.0, 48_129.0, 485.3, 987.1, 29, waiting_percent=71),
    Step(64_000.0, 60_997.0, 131.5, 432.1, 41, waiting_percent=55),
    Step(64_000.0, 56_530.0, 174.7, 399.4, 35, waiting_percent=52),
    Step(64_000.0, 54_259.0, 87.0, 643.1, 32, waiting_percent=68),
    Step(50_596.4, 40_528.0, 197.5, 782.3, 26, waiting_percent=72),
    Step(50_596.4, 45_265.0, 185.9, 708.6, 27, waiting_percent=73),
    Step(50_596.4, 43_952.0, 113.2, 757.8, 27, waiting_percent=73),
    Step(50_596.4, 41_764.0, 177.8, 749.6, 26, waiting_percent=73),
    Step(44_987.3, 44_349.0, 231.0, 248.8, 31, waiting_percent=59),
    Step(44_987.3, 44_987.3, 14.2, 15.7, 36, waiting_percent=10),
    Step(47_709.5, 47_709.5, 11.4, 17.8, 37, waiting_percent=6),
]
CONNECTS = [
    Step(200.0, 200.0, 330.8, 309.2, 27, waiting_percent=19),
    Step(200.0, 200.0, 7.8, 9.3, 28, waiting_percent=1),
    Step(320.0, 320.0, 8.3, 8.8, 33, waiting_percent=1),
    Step(512.0, 512.0, 30.6, 23.7, 43, waiting_percent=19),
    Step(819.2, 747.8, 53.2, 53.0, 44, waiting_percent=56),
    Step(819.2, 802.2, 95.2, 71.2, 47, waiting_percent=21),
    Step(819.2, 819.2, 207.1, 212.0, 50, waiting_percent=14),
    Step(819.2, 819.2, 254.3, 259.1, 50, waiting_percent=18),
]


def _run(node: Callable[[float], Step], ramp: Ramp = RAMP) -> tuple[Knee, list[Step]]:
    steps: list[Step] = []
    while isinstance(decision := decide(steps, ramp, BOUNDS), Try):
        steps.append(node(decision.load))
    return decision, steps


def _breaking_at(limit: float) -> Callable[[float], Step]:
    return lambda load: Step(load, load, lag_p99_ms=10 if load <= limit else 80)


@pytest.mark.parametrize(
    ("recorded", "ramp", "held", "broke_at"),
    [(DELIVERIES, RAMP, 47_709.5, 50_596.4), (CONNECTS, Ramp(200), 512, 819.2)],
    ids=["deliveries", "connects"],
)
def test_a_recorded_ramp_is_followed_step_by_step_to_its_knee(
    recorded: list[Step], ramp: Ramp, held: float, broke_at: float
) -> None:
    """Every load of a recorded ramp is the one that is asked for next, and its knee is found."""
    for count, step in enumerate(recorded):
        decision = decide(recorded[:count], ramp, BOUNDS)
        assert isinstance(decision, Try)
        assert decision.load == pytest.approx(step.load, abs=0.1)
    knee = decide(recorded, ramp, BOUNDS, is_time_over=True)
    assert isinstance(knee, Knee)
    assert knee.held is not None
    assert (knee.held.load, knee.broke_at) == (held, broke_at)


def test_what_broke_is_tried_once_more() -> None:
    """A step that broke and then held is no knee: the ramp goes on from it."""
    once = [Step(40_000, 40_000, 20), Step(64_000, 64_000, 70)]
    assert decide(once, RAMP, BOUNDS) == Try(64_000, "again: it may have been a hiccup")
    assert decide([*once, Step(64_000, 64_000, 20)], RAMP, BOUNDS) == Try(102_400, "the last held")


def test_a_step_that_others_disturbed_is_tried_more_often() -> None:
    """While other programs had the node's core, a broken step counts only after four tries."""
    disturbed = Step(40_000, 40_000, 70, waiting_percent=60)
    for tries in range(1, TRIES_DISTURBED):
        decision = decide([disturbed] * tries, RAMP, BOUNDS)
        assert isinstance(decision, Try)
        assert decision.load == 40_000
    decision = decide([disturbed] * TRIES_DISTURBED, RAMP, BOUNDS)
    assert decision == Try(20_000, "half of what broke")


def test_the_reason_tells_that_others_had_the_core() -> None:
    """Whoever reads that a node broke reads as well that it did not have its core."""
    step = Step(1, 1, 70, waiting_percent=60)
    assert BOUNDS.broken_by(step) == (
        "loop lag p99 70 ms > 50 ms (other programs had its core for 60 %)"
    )


def test_each_bound_can_break() -> None:
    """Lag, late deliveries, losses and a load that was not reached each break a node."""
    assert not BOUNDS.broken_by(Step(100, 100, 50, 250))
    assert BOUNDS.broken_by(Step(100, 100, 51)) == "loop lag p99 51 ms > 50 ms"
    assert BOUNDS.broken_by(Step(100, 100, 1, 251)) == "delivery p99 251 ms > 250 ms"
    assert BOUNDS.broken_by(Step(100, 100, 1, 1, lost=3)) == "3 lost"
    assert BOUNDS.broken_by(Step(100, 80, 1, 1)) == "only 80 of 100"


def test_a_full_core_of_the_generators_is_no_knee_of_the_node() -> None:
    """Where the load did not reach the node, the ramp ends and says that it may do more."""
    full = Step(64_000, 64_000, 20, obstacle="the generators' core was full")
    steps = [Step(40_000, 40_000, 10), full]
    assert decide(steps, RAMP, BOUNDS) == Knee(full, "the generators' core was full", None)


def test_the_machines_limit_is_tried_and_told() -> None:
    """A ramp ends at what the machine can load, and names it."""
    ramp = Ramp(200, most=500, most_because="file descriptors")
    knee, steps = _run(_breaking_at(10_000), ramp)
    assert [step.load for step in steps] == [200, 320, 500]
    assert knee == Knee(steps[-1], "file descriptors", None)


def test_a_node_that_holds_nothing_is_told_as_such() -> None:
    """Where even an eighth of the first load breaks, nothing held."""
    knee, steps = _run(_breaking_at(0))
    assert knee.held is None
    assert knee.broke_at == steps[-1].load == 5_000


def test_a_ramp_ends_when_its_time_is_over() -> None:
    """The best so far is told, with what had broken until then."""
    steps = [Step(40_000, 40_000, 10), Step(64_000, 64_000, 70)]
    knee = decide(steps, RAMP, BOUNDS, is_time_over=True)
    assert knee == Knee(steps[0], "loop lag p99 70 ms > 50 ms, when the time was over", 64_000)


@given(st.floats(6_000, 5e6))
def test_the_knee_is_close_below_the_limit(limit: float) -> None:
    """Whatever a node can do, what is found holds, is near it, and took a bounded ramp."""
    knee, steps = _run(_breaking_at(limit))
    assert len(steps) <= MOST_STEPS
    assert knee.held is not None
    assert knee.held.load <= limit
    if len(steps) < MOST_STEPS:
        assert knee.held.load >= limit / (1 + RAMP.resolution)


def test_growth_ends_at_the_first_part_that_breaks() -> None:
    """Of clients that only ever come, the last number before the node broke is what it holds."""
    steps = [Step(1_000, 1_000, 5), Step(2_000, 2_000, 6), Step(3_000, 2_990, 7, lost=10)]
    assert knee_of_growth(steps, BOUNDS, "no more") == Knee(steps[1], "10 lost", 3_000)
    assert knee_of_growth(steps[:2], BOUNDS, "no more") == Knee(steps[1], "no more", None)


def test_growth_forgives_a_hiccup() -> None:
    """A number of clients that was looked at twice holds if the second look was good."""
    steps = [Step(1_000, 1_000, 90), Step(1_000, 1_000, 5)]
    assert is_to_be_tried_again(steps[:1], BOUNDS)
    assert not is_to_be_tried_again(steps, BOUNDS)
    assert knee_of_growth(steps, BOUNDS, "no more") == Knee(steps[1], "no more", None)
