"""The pictures of `make bench-flow`, which docs/flow-control-figures.md shows.

Each is of the rounds together: bars show their range, histograms add up, and a time line is that of
the first round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.load import plots
from tests.load.flow_scenarios import BUDGET_MIB, INTERVAL_MS, SPREAD_OVER_MS
from tests.load.flow_suite import (
    AT_INTERVALS,
    AT_ONCE,
    CALM,
    CHOKED,
    FEW_AT_ONCE,
    ONE_ALONE,
    STAGGERED,
)
from tests.load.latencies import Latencies
from tests.load.plots import Bars, Bound
from tests.load.report import Results, figures

Subjects = Mapping[str, Sequence[Any]]

_BIN_MS: Final = 5
_TOLERANCE: Final = 1.2


def pictures(results: Results) -> dict[str, str]:
    """Return a picture, file name → SVG, of every scenario that was measured whole."""
    drawn = {}
    for name, (scenario, subjects, draw) in _PICTURES.items():
        measured = results.get(scenario, {})
        if all(measured.get(subject) for subject in subjects):
            drawn[name] = draw(measured)
    return drawn


def _stalled(measured: Subjects) -> str:
    policies = [subject for subject in measured if subject != CALM]

    def panel(title: str, name: str) -> Bars:
        ratios = {each: figures(measured, each, name, CALM) for each in policies}
        return Bars(title, {"ratio": ratios}, bound=_TOLERANCE)

    return plots.bars(
        [panel("p99 of the others ÷ calm", "p99_ms"), panel("CPU of the node ÷ calm", "cpu_s")]
    )


def _memory(measured: Subjects) -> str:
    # Of one client among 2,000 it cannot be told.
    policies = [subject for subject in measured if subject not in {CALM, ONE_ALONE}]

    def part(name: str) -> dict[str, list[float]]:
        return {each: figures(measured, each, name) for each in policies}

    parts = {
        "in the node": part("user_kib_per_stalled"),
        "in the kernel": part("kernel_kib_per_stalled"),
    }
    return plots.bars([Bars("memory per stalled client, KiB", parts)])


def _choking(measured: Subjects) -> str:
    held = measured[CHOKED][0].held
    return plots.timeline(
        {
            "growth of the resident set": [(each.seconds, each.growth_mib) for each in held],
            "waiting, by the node's count": [(each.seconds, each.waiting_mib) for each in held],
        },
        unit="MiB",
        bound=Bound("budget for slow clients", BUDGET_MIB),
    )


def _interval(measured: Subjects) -> str:
    return plots.cumulative(
        {each: _over_rounds(measured, each) for each in (AT_INTERVALS, AT_ONCE, FEW_AT_ONCE)},
        of="publications delivered",
        marks=(0.5, 0.9, 0.99),
        until_ms=4 * INTERVAL_MS,
    )


def _stagger(measured: Subjects) -> str:
    return plots.histogram(
        {each: _over_rounds(measured, each) for each in (AT_ONCE, STAGGERED)},
        of="clients reached",
        bin_ms=_BIN_MS,
        until_ms=1.2 * SPREAD_OVER_MS,
    )


def _over_rounds(measured: Subjects, subject: str) -> Latencies:
    return Latencies.merged(result.latencies for result in measured[subject])


_Picture = tuple[str, tuple[str, ...], Callable[[Subjects], str]]  # scenario, subjects, function
_PICTURES: Final[Mapping[str, _Picture]] = {
    "flow-stalled.svg": ("stalled", (CALM, "queue"), _stalled),
    "flow-stalled-memory.svg": ("stalled", (CALM, "queue"), _memory),
    "flow-budget.svg": ("choking", (CHOKED,), _choking),
    "flow-interval.svg": ("batched", (AT_INTERVALS, AT_ONCE, FEW_AT_ONCE), _interval),
    "flow-stagger.svg": ("spread", (AT_ONCE, STAGGERED), _stagger),
}
