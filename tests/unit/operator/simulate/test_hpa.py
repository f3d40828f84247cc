"""The rival's autoscaler, held to the examples of Kubernetes' documentation."""

from __future__ import annotations

from itertools import pairwise

import pytest

from realtime_operator.simulate.hpa import Autoscaler, Policy, Rules, replicas_for


def grown(scaler: Autoscaler, start: int, each: float, times: int) -> list[int]:
    """The numbers of replicas over so many looks, each Pod with the same metric."""
    numbers, current = [], start
    for look in range(times):
        current = scaler.decide(15.0 * look, current, [each] * current)
        numbers.append(current)
    return numbers


@pytest.mark.parametrize(
    ("average", "wanted"),
    [(200, 8), (50, 2), (100, 4), (109, 4), (91, 4), (111, 5), (89, 4), (74, 3)],
)
def test_the_number_follows_the_ratio_beyond_the_tolerance(average: float, wanted: int) -> None:
    """200m of a desired 100m doubles the Pods, 50m halves them; a tenth changes nothing."""
    assert replicas_for(4, [average] * 4, 100) == wanted


def test_a_missing_metric_never_makes_more_or_fewer_than_the_others_ask_for() -> None:
    """Missing Pods count as at the target when fewer are asked for, as idle when more are."""
    assert replicas_for(4, [50, 50], 100, missing=2) == 3
    assert replicas_for(4, [200, 200], 100, missing=2) == 4
    assert replicas_for(4, [], 100, missing=4) == 4


def test_pods_that_start_count_as_idle_when_more_are_asked_for() -> None:
    """Two Pods at twice the target and two that start need no further ones."""
    assert replicas_for(4, [200, 200], 100, starting=2) == 4
    assert replicas_for(4, [300, 300], 100, starting=2) == 6


def test_fewer_only_after_five_minutes() -> None:
    """The highest number of the last 300 s counts."""
    scaler = Autoscaler(1, 100, 100)
    assert scaler.decide(0, 10, [100] * 10) == 10
    numbers = [scaler.decide(15.0 * look, 10, [50] * 10) for look in range(1, 22)]
    assert numbers[:20] == [10] * 20
    assert numbers[20] == 5


def test_more_at_once_but_no_more_than_twice_as_many_or_four_in_a_look() -> None:
    """The default policies of scale-up: the larger of 4 Pods and 100 % per 15 s."""
    assert Autoscaler(1, 100, 100).decide(0, 1, [1000]) == 5
    assert Autoscaler(1, 100, 100).decide(0, 10, [1000] * 10) == 20
    assert Autoscaler(1, 12, 100).decide(0, 10, [1000] * 10) == 12


def test_the_documented_example_of_policies() -> None:
    """80 replicas that go down to 10 by 4 Pods or 10 % a minute: 8 at a time, then 4."""
    down = Rules((Policy("Pods", 4, 60), Policy("Percent", 10, 60)), window_s=0)
    scaler = Autoscaler(10, 100, 100, down=down)
    current, numbers = 80, []
    for minute in range(14):
        current = scaler.decide(60.0 * minute, current, [1.0] * current)
        numbers.append(current)
    assert numbers[:3] == [72, 64, 57]
    below = [number for number in numbers if number < 40]
    steps = [before - after for before, after in pairwise(below)]
    assert steps[:3] == [4, 4, 4]


def test_a_policy_counts_what_was_changed_within_its_period() -> None:
    """Looks come every 15 s; a period of a minute permits no more than a minute's worth."""
    up = Rules((Policy("Pods", 4, 60),), window_s=0)
    scaler = Autoscaler(1, 100, 100, up=up)
    assert grown(scaler, 10, 1000, 5) == [14, 14, 14, 14, 18]
