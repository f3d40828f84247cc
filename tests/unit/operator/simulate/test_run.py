"""Scenarios, small: they end as wanted, can be repeated, and whoever is counted is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from realtime_operator.crd.realtime_cluster import DrainSpec
from realtime_operator.crd.scaling import AutoscalingSpec
from realtime_operator.simulate.record import Line
from realtime_operator.simulate.run import Case, run_operator, run_rival
from realtime_operator.simulate.scenarios import SCENARIOS
from realtime_operator.simulate.settings import Size, fitting_spec


def make_case(name: str, nodes: int = 6, clients: int = 600, **changed: Any) -> Case:
    """A scenario with few clients, whose drains are short."""
    size = Size(nodes, clients)
    spec = fitting_spec(size).model_copy(update={"drain": DrainSpec(window_seconds=60)})
    return Case(SCENARIOS[name], spec, size, **changed)


def without(lines: list[Line]) -> int:
    """Most clients that were without a connection in any step."""
    return max(line.demand - line.connected for line in lines)


@pytest.mark.parametrize("is_per_client", [False, True])
def test_the_same_seed_gives_the_same_run(is_per_client: bool) -> None:
    """Down to the last figure; another seed gives another."""
    case = make_case("node-loss", 4, 100, is_per_client=is_per_client)
    assert run_operator(case) == run_operator(case)
    assert run_rival(case) == run_rival(case)
    assert run_operator(case).lines != run_operator(replace(case, seed=2)).lines


@pytest.mark.parametrize("name", [each for each in SCENARIOS if each != "daily-curve"])
def test_nobody_is_without_a_connection_in_the_end(name: str) -> None:
    """Whatever has happened, for both rivals, but for who is just about to connect."""
    case = make_case(name, 4, 200)
    for run in (run_operator(case), run_rival(case)):
        last = run.lines[-1]
        assert last.demand - last.connected <= 10, run.name
        assert last.accepting >= case.spec.autoscaling.min_replicas


def test_in_a_rollout_each_client_reconnects_once() -> None:
    """By the operator's decisions; with a Deployment many come to Pods that go next."""
    case = make_case("rollout", is_per_client=True)
    run = run_operator(case)
    assert run.summary.reconnects_per_client_max == 1
    assert run.summary.settled_at_s is not None
    assert run.summary.budget_per_s is not None
    assert run.summary.reconnects_peak_per_s <= run.summary.budget_per_s
    assert (run.events or {})["RolloutCompleted"] == 1
    assert "DrainForced" not in (run.events or {})
    rival = run_rival(case).summary
    assert rival.reconnects_per_client_max is not None
    assert rival.reconnects_per_client_max > 1
    assert rival.node_hours < run.summary.node_hours


def test_what_a_load_needs_is_there_in_time_and_goes_again() -> None:
    """A flash crowd finds nodes, and they are taken away when it has gone."""
    run = run_operator(make_case("flash-crowd"))
    first, most, last = run.lines[0].nodes, run.summary.nodes_max, run.lines[-1].nodes
    assert first < 6 < most
    assert last < most
    assert run.summary.above_capacity_s == 0


def test_no_node_goes_while_metrics_are_away() -> None:
    """Half of the nodes do not answer, and a third of the clients is away: all nodes stay."""
    run = run_operator(make_case("metrics-outage"))
    during = [line for line in run.lines if 300 <= line.at_s <= 900]
    assert min(line.accepting for line in during) >= run.lines[0].accepting
    assert all(line.leaving == 0 for line in during)


def test_lost_machines_are_replaced() -> None:
    """Their clients are without a connection at once, and few minutes later all have one."""
    run = run_operator(make_case("zone-loss"))
    at = next(n for n, line in enumerate(run.lines) if line.at_s >= 300)
    lost = run.lines[at].demand - run.lines[at].connected
    assert lost > run.lines[at].demand / 4
    after = [line for line in run.lines if line.at_s >= 480]
    assert without(after) <= 20


def test_counts_and_clients_one_by_one_tell_the_same() -> None:
    """Ten thousand clients, as numbers and as somebody each: the figures agree."""
    for name, run in (("rollout", run_operator), ("zone-loss", run_rival)):
        case = make_case(name, 5, 2000)
        case = replace(case, spec=case.spec.model_copy(update={"autoscaling": AutoscalingSpec()}))
        counted = run(case).summary
        followed = run(replace(case, is_per_client=True)).summary
        assert counted.reconnects == pytest.approx(followed.reconnects, rel=0.1)
        assert counted.node_hours == pytest.approx(followed.node_hours, rel=0.1)
        offline = pytest.approx(followed.offline_client_hours, rel=0.15)
        assert counted.offline_client_hours == offline


@pytest.mark.load
@pytest.mark.timeout(600)
def test_each_of_a_hundred_thousand_clients_reconnects_once() -> None:
    """A rollout of a hundred nodes with a thousand clients each."""
    run = run_operator(make_case("rollout", 100, 1000, is_per_client=True))
    assert run.summary.reconnects_per_client_max == 1
    assert sum((run.summary.histogram or {}).values()) >= 100_000
