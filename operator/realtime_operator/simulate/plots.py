"""Runs drawn: clients, nodes, reconnects and latency over time, the rivals in the same picture.

It needs matplotlib, which the operator's image does not have: `realtime-operator[simulate]` brings
it. How pictures look is in `drawing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from realtime_operator.simulate.drawing import BOUND, COLOURS, INK, STYLE, svg
from realtime_operator.simulate.record import Line
from realtime_operator.simulate.report import thinned
from realtime_operator.simulate.run import Case, Run

POINTS: Final = 360
"""Of a line: more cannot be seen."""


def picture(case: Case, runs: Sequence[Run]) -> str:
    """The SVG of a scenario."""
    with mpl.rc_context({**STYLE, "legend.fontsize": 8}):
        figure = Figure(figsize=(8.0, 10.5))
        panels = figure.subplots(len(_PANELS), 1, sharex=True)
        drawn = [thinned(run.lines, POINTS) for run in runs]
        unit_s, unit = _unit(runs[0].summary.duration_s)
        for draw, axes in zip(_PANELS, panels, strict=True):
            draw(axes, runs, drawn, unit_s)
            for happening in case.scenario.happenings:
                axes.axvline(happening.at_s / unit_s, color=INK, linewidth=0.8, linestyle=":")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
        for happening in case.scenario.happenings:
            panels[0].annotate(
                happening.what,
                (happening.at_s / unit_s, 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=8,
            )
        panels[-1].set(xlabel=f"time, {unit}")
        panels[-1].set_xlim(0, runs[0].summary.duration_s / unit_s)
        figure.suptitle(
            f"{case.scenario.name}: {case.scenario.about}\n{case.size.clients:,} clients at most,"
            f" {case.size.nodes:,} nodes with {case.size.clients_per_node:,} each",
            fontsize=10,
            x=0.01,
            ha="left",
        )
        return svg(figure)


def _unit(duration_s: float) -> tuple[float, str]:
    """In what a time is told."""
    return (3600.0, "h") if duration_s > 3 * 3600 else (60.0, "min")


def _plot(
    axes: Axes,
    lines: Sequence[Line],
    value: Callable[[Line], float],
    unit_s: float,
    label: str,
    **style: Any,  # noqa: ANN401 - matplotlib's
) -> None:
    times = [line.at_s / unit_s for line in lines]
    axes.plot(times, [value(line) for line in lines], label=label, **style)


def _clients(
    axes: Axes, runs: Sequence[Run], drawn: Sequence[Sequence[Line]], unit_s: float
) -> None:
    style: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": "--"}
    _plot(axes, drawn[0], lambda line: line.demand, unit_s, "want to be connected", **style)
    for run, lines, colour in zip(runs, drawn, COLOURS, strict=False):
        label = f"{run.name}: capacity"
        _plot(axes, lines, lambda line: line.capacity, unit_s, label, color=colour)
    axes.set(ylabel="clients")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _nodes(axes: Axes, runs: Sequence[Run], drawn: Sequence[Sequence[Line]], unit_s: float) -> None:
    for run, lines, colour in zip(runs, drawn, COLOURS, strict=False):
        _plot(axes, lines, lambda line: line.nodes, unit_s, f"{run.name}: paid for", color=colour)
    if any(line.leaving for line in drawn[0]):
        style: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.0, "linestyle": ":"}
        label = f"{runs[0].name}: leaving"
        _plot(axes, drawn[0], lambda line: line.leaving, unit_s, label, **style)
    axes.set(ylabel="nodes")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _reconnects(
    axes: Axes, runs: Sequence[Run], drawn: Sequence[Sequence[Line]], unit_s: float
) -> None:
    for run, lines, colour in zip(runs, drawn, COLOURS, strict=False):
        label = f"{run.name}"
        _plot(axes, lines, lambda line: line.reconnects_per_s, unit_s, label, color=colour)
    budgets = [line for line in drawn[0] if line.budget_per_s is not None]
    style: dict[str, Any] = {"color": BOUND, "linewidth": 1.2}
    _plot(axes, budgets, lambda line: line.budget_per_s or 0.0, unit_s, "budget", **style)
    axes.set(ylabel="connections lost, per s")
    _logarithmic(axes)


def _offline(
    axes: Axes, runs: Sequence[Run], drawn: Sequence[Sequence[Line]], unit_s: float
) -> None:
    for run, lines, colour in zip(runs, drawn, COLOURS, strict=False):
        _plot(axes, lines, _without_connection, unit_s, f"{run.name}", color=colour)
    axes.set(ylabel="clients offline")
    _logarithmic(axes)


def _without_connection(line: Line) -> int:
    return max(0, line.demand - line.connected)


def _latency(
    axes: Axes, runs: Sequence[Run], drawn: Sequence[Sequence[Line]], unit_s: float
) -> None:
    for run, lines, colour in zip(runs, drawn, COLOURS, strict=False):
        label = f"{run.name}"
        _plot(axes, lines, lambda line: line.latency_p99_ms, unit_s, label, color=colour)
    axes.set(ylabel="latency proxy, p99, ms")
    axes.set_ylim(bottom=0)


def _logarithmic(axes: Axes) -> None:
    """From one on; below it there is room for nothing."""
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1.0]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


_PANELS: Final = (_clients, _nodes, _reconnects, _offline, _latency)
