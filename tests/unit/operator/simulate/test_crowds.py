"""Clients in a simulation: none is lost or invented, and they wait as the SDKs do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import mean, pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_operator.simulate.aggregate import AggregateCrowd
from realtime_operator.simulate.assumptions import DEFAULTS, Limits
from realtime_operator.simulate.backoff import Backoff
from realtime_operator.simulate.crowd import Crowd
from realtime_operator.simulate.individual import IndividualCrowd
from realtime_operator.simulate.nodes import Node
from realtime_operator.simulate.sampling import binomial, split, spread
from realtime_operator.simulate.traffic import Traffic
from tests.support.selection import examples

CROWDS = (AggregateCrowd, IndividualCrowd)
LIMITS = Limits(max_connections=1000, connects_per_s=50.0, burst=50.0, most_queued=150)


def dice(seed: int) -> Random:
    """Chance that can be repeated."""
    return Random(seed)  # noqa: S311 - dice


def make_crowd(kind: type[AggregateCrowd | IndividualCrowd], step_s: float = 1.0) -> Crowd:
    """A crowd of nobody, with the SDKs' waits."""
    return kind(dice(1), Backoff(0.5, 20.0), (10.0, 35.0), step_s)


def make_nodes(count: int) -> list[Node]:
    """Nodes that let everybody in."""
    return [Node(f"node-{n}", "a", is_up=True) for n in range(count)]


def everybody(crowd: Crowd, nodes: Sequence[Node]) -> int:
    """All clients, wherever they are."""
    return crowd.waiting + sum(node.clients + node.queued for node in nodes)


@given(st.integers(0, 10**9), st.floats(0.0, 1.0, allow_subnormal=False), st.integers(0, 1_000_000))
def test_what_is_drawn_is_there(count: int, share: float, seed: int) -> None:
    """No draw takes more than there are, or fewer than none."""
    assert 0 <= binomial(dice(seed), count, share) <= count


@given(st.integers(0, 10**9), st.integers(1, 50), st.integers(0, 1_000_000))
def test_what_is_spread_is_all_somewhere(count: int, places: int, seed: int) -> None:
    """Throwing keeps the total, whether places are equal or not."""
    assert sum(spread(dice(seed), count, places)) == count
    weights = [1.0 + place for place in range(places)]
    assert sum(split(dice(seed), count, weights)) == count


@pytest.mark.parametrize(("count", "share"), [(40, 0.1), (500, 0.02), (500, 0.3), (10**6, 0.01)])
def test_draws_have_the_mean_and_the_variance_of_a_binomial(count: int, share: float) -> None:
    """Both where they are exact and where they are not."""
    random = dice(3)
    drawn = [binomial(random, count, share) for _ in range(4000)]
    assert mean(drawn) == pytest.approx(count * share, rel=0.03)
    assert pvariance(drawn) == pytest.approx(count * share * (1 - share), rel=0.12)


@pytest.mark.parametrize("kind", CROWDS)
def test_who_is_closed_comes_back_with_full_jitter(
    kind: type[AggregateCrowd | IndividualCrowd],
) -> None:
    """The first retry comes after 0.5 to 1 s, spread evenly."""
    crowd, (node,) = make_crowd(kind, step_s=0.1), make_nodes(1)
    crowd.seat(node, 4000)
    assert crowd.due(0) == 0
    crowd.lose(node, 4000)
    came = {step: crowd.due(step) for step in range(1, 12)}
    assert sum(came.values()) == 4000
    assert {step for step, count in came.items() if count} == set(range(5, 11))
    assert came[7] == pytest.approx(800, rel=0.2)


@pytest.mark.parametrize("kind", CROWDS)
def test_who_is_turned_away_waits_longer_each_time(
    kind: type[AggregateCrowd | IndividualCrowd],
) -> None:
    """The second retry comes 0.5 to 1.5 s after the first, later ones up to 20 s."""
    crowd = make_crowd(kind, step_s=0.1)
    crowd.due(0)
    crowd.join(3000)
    assert crowd.due(1) == 3000
    assert crowd.settle() == 3000
    came = {step: crowd.due(step) for step in range(2, 20)}
    assert sum(came.values()) == 3000
    assert {step for step, count in came.items() if count} == set(range(6, 17))
    waits = [Backoff(0.5, 20.0).bounds_s(failures) for failures in range(7)]
    assert [most for _, most in waits] == [1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 20.0]


@pytest.mark.parametrize("kind", CROWDS)
def test_a_machine_that_is_gone_is_noticed_by_pings_that_do_not_come(
    kind: type[AggregateCrowd | IndividualCrowd],
) -> None:
    """Nobody knocks before the ping is overdue, and all have by then and one wait more."""
    crowd, (node,) = make_crowd(kind), make_nodes(1)
    crowd.seat(node, 1000)
    crowd.due(0)
    crowd.lose(node, 1000, unnoticed=True)
    came = []
    for step in range(1, 60):
        came.append(crowd.due(step))
        crowd.settle()
    assert sum(came[:9]) == 0
    assert sum(came[:36]) >= 1000


@pytest.mark.parametrize("kind", CROWDS)
@settings(max_examples=examples(20))
@given(st.integers(0, 10_000), st.lists(st.integers(0, 600), min_size=20, max_size=40))
def test_nobody_is_lost_or_invented(
    kind: type[AggregateCrowd | IndividualCrowd], seed: int, demands: list[int]
) -> None:
    """Whatever happens, clients are those before and those who joined, without those who left."""
    random = dice(seed)
    crowd, nodes = make_crowd(kind), make_nodes(4)
    traffic = Traffic(crowd, lambda now: demands[int(now)], DEFAULTS, LIMITS, random)
    before = 0
    for step in range(len(demands)):
        victim = random.choice(nodes)
        if random.random() < 0.3:
            crowd.drop(victim)
            crowd.lose(victim, victim.clients, unnoticed=random.random() < 0.5)
            victim.is_up = not victim.is_up
        traffic.show(float(step), nodes)
        flow = traffic.step(float(step), step, 1.0, nodes)
        after = everybody(crowd, nodes)
        assert after == before + flow.joined - flow.left
        assert flow.refused <= flow.knocked
        before = after


@pytest.mark.parametrize("kind", CROWDS)
def test_doors_let_in_their_rate_and_turn_away_who_would_wait_too_long(
    kind: type[AggregateCrowd | IndividualCrowd],
) -> None:
    """A node takes its burst, then its rate; who has no place in the queue is refused."""
    crowd, nodes = make_crowd(kind), make_nodes(1)
    limits = replace(LIMITS, max_connections=10_000)
    traffic = Traffic(crowd, lambda _: 5000, DEFAULTS, limits, dice(1))
    refused, admitted = 0, []
    for step in range(1, 20):
        traffic.show(float(step), nodes)
        flow = traffic.step(float(step), step, 1.0, nodes)
        refused += flow.refused
        admitted.append(flow.admitted)
    assert max(admitted) <= limits.burst + limits.connects_per_s
    assert admitted[8:] == [limits.connects_per_s] * 11
    assert refused > 5000
