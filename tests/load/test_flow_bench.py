"""What the benchmarks of flow control make of what they measured."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest

from tests.load import flow_plots, flow_suite, report
from tests.load.flow_results import Arrivals, Choking, Held, InOrder, Quantiles, Stalled, quantiles
from tests.load.flow_suite import (
    ADDED,
    ADDED_TO_FEW,
    AT_INTERVALS,
    AT_ONCE,
    C_LOOP,
    CALM,
    CHOKED,
    FEW_AT_ONCE,
    SCENARIOS,
    STAGGERED,
    TARGETS,
)
from tests.load.latencies import Latencies
from tests.load.results import Sending


def _evenly(from_ms: int, until_ms: int) -> Latencies:
    return Latencies.read([[ms * 1000, 1000, 10] for ms in range(from_ms, until_ms)])


def _arrivals(latencies: Latencies) -> Arrivals:
    names = {field.name for field in dataclasses.fields(Arrivals)}
    nothing: dict[str, Any] = dict.fromkeys(names - {"latencies"}, 0)
    max_ms = latencies.quantile_ms(1)
    return Arrivals(**{**nothing, **quantiles(latencies, max_ms), "latencies": latencies})


def _in_order(latencies: Latencies) -> InOrder:
    arrivals = _arrivals(latencies)
    return InOrder(disordered=0, **{f.name: getattr(arrivals, f.name) for f in _fields(Arrivals)})


def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _whole_run() -> report.Results:
    stalled = Stalled(6, 13, 3.5, 100, 0, 65, 8, 57, 200, 0)
    held = (Held(0.0, 0.0, 0.0), Held(0.5, 9.0, 8.0), Held(1.0, 17.0, 15.5))
    return {
        "stalled": {subject: [stalled, stalled] for subject, _ in SCENARIOS["stalled"].subjects},
        "choking": {CHOKED: [Choking(17, 106, 15.5, 300, 0, 100, 200, 0, held=held)]},
        "batched": {
            AT_INTERVALS: [_arrivals(_evenly(4, 24)), _arrivals(_evenly(6, 28))],
            AT_ONCE: [_arrivals(_evenly(2, 12)), _arrivals(_evenly(3, 13))],
            FEW_AT_ONCE: [_arrivals(_evenly(1, 6)), _arrivals(_evenly(1, 6))],
            C_LOOP: [Sending(3.5, 3.5), Sending(3.6, 3.6)],
        },
        "spread": {
            AT_ONCE: [_in_order(_evenly(2, 82))],
            STAGGERED: [_in_order(_evenly(1, 200))],
        },
    }


def test_what_an_interval_adds_is_told_by_quantile_within_a_round() -> None:
    """Half had arrived 7 ms later in one round, and 9 ms later in the other, than at once."""
    batched = flow_suite.with_added(_whole_run())["batched"]
    assert [added.p50_ms for added in batched[ADDED]] == pytest.approx([7, 9])
    assert [added.max_ms for added in batched[ADDED]] == pytest.approx([12, 15])
    assert [added.p99_ms for added in batched[ADDED_TO_FEW]] == pytest.approx([17.85, 21.83])


def test_without_a_run_at_once_nothing_is_said_to_be_added() -> None:
    """A run of other scenarios, or one that was interrupted, is reported as it is."""
    results = _whole_run()
    for missing in (AT_ONCE, FEW_AT_ONCE):
        del results["batched"][missing]
    assert flow_suite.with_added(results) == results
    assert flow_suite.with_added({}) == {}


def test_every_flow_target_is_judged_in_a_whole_run() -> None:
    """A target on a scenario, a subject or a figure that does not exist would never be."""
    verdicts = report.judge(flow_suite.with_added(_whole_run()), TARGETS, AT_INTERVALS)
    assert [verdict.target for verdict in verdicts] == list(TARGETS)
    assert all(verdict.is_met for verdict in verdicts)


def test_what_stands_in_for_a_run_is_what_scenarios_return() -> None:
    """Of each subject that a scenario has, and of the kind that its function is to return."""
    for name, subjects in _whole_run().items():
        measured = dict(SCENARIOS[name].subjects)
        for subject, (first, *_) in subjects.items():
            measure = getattr(measured[subject], "func", measured[subject])
            assert type(first) is typing.get_type_hints(measure)["return"], (name, subject)


def test_a_whole_run_is_drawn_whole_and_a_part_of_it_in_part() -> None:
    """Five pictures, none of them larger than a page can bear; of one scenario its own."""
    results = _whole_run()
    pictures = flow_plots.pictures(results)
    assert set(pictures) == {
        "flow-stalled.svg",
        "flow-stalled-memory.svg",
        "flow-budget.svg",
        "flow-interval.svg",
        "flow-stagger.svg",
    }
    assert max(map(len, pictures.values())) < 60_000
    assert set(flow_plots.pictures({"spread": results["spread"]})) == {"flow-stagger.svg"}
    assert flow_plots.pictures({"stalled": {CALM: results["stalled"][CALM]}}) == {}


def test_quantiles_are_those_of_the_latencies() -> None:
    """But the maximum, which is known exactly."""
    found = Quantiles(**quantiles(_evenly(0, 100), 99.5))
    assert (found.p10_ms, found.p50_ms, found.p99_ms, found.max_ms) == (10, 50, 99, 99.5)
