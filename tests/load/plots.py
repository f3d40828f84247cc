"""Draws what a benchmark measured: SVG that is the same bytes for the same figures.

    bars          subjects side by side, with the range of their rounds
    cumulative    which share of something was faster than what
    histogram     how many came when
    timeline      what happened in a run, perhaps beside a bound

Each takes plain figures and returns the text of a picture; who measured them, and where the picture
goes, is not known here (`rounds` writes them), nor how pictures look (`drawing` of the operator's
simulation). Whoever imports this imports matplotlib, which takes a while: do it when there is
something to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from realtime_operator.simulate.drawing import BOUND, COLOURS, INK, STYLE, svg
from tests.load.latencies import Latencies
from tests.load.report import Spread

WIDTH_IN: Final = 8.0

_DASHES: Final = ("solid", "dashed", "dashdot", "dotted")

Part = Mapping[str, Sequence[float]]  # subject → the figure of each round


@dataclass(frozen=True)
class Bars:
    """One panel of bars: a bar for each subject, of one part or of several put together.

    A part is as long as the median of its rounds; a thin line at the bar's end is the range of the
    whole over the rounds.
    """

    title: str
    parts: Mapping[str, Part]
    bound: float | None = None


@dataclass(frozen=True)
class Bound:
    """A line that figures are to stay below."""

    text: str
    value: float


def bars(panels: Sequence[Bars]) -> str:
    """Draw panels beside each other; all have the subjects of the first, in its order."""
    with _drawing(height_in=0.9 + 0.34 * len(_subjects(panels[0]))) as picture:
        axes = picture.figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for panel, each in zip(panels, axes, strict=True):
            _draw_bars(panel, each)
        axes[0].invert_yaxis()
    return picture.text


def cumulative(
    series: Mapping[str, Latencies], *, of: str, marks: Sequence[float] = (), until_ms: float = 0
) -> str:
    """Draw which share `of` something had at most which latency, up to `until_ms` if it is given.

    Dotted lines go across at `marks`, shares from 0 to 1.
    """
    with _drawing(height_in=3.2) as picture:
        axes = picture.figure.subplots()
        for (name, latencies), colour, dash in zip(
            series.items(), cycle(COLOURS), cycle(_DASHES), strict=False
        ):
            milliseconds, shares = latencies.cumulative()
            percents = [100 * share for share in shares]
            axes.plot(milliseconds, percents, color=colour, linestyle=dash, label=name)
        for mark in marks:
            axes.axhline(100 * mark, color=INK, linewidth=0.7, linestyle="dotted")
        axes.set(xlabel="latency, ms", ylabel=f"{of}, %", ylim=(0, 101))
        axes.set_xlim(0, until_ms or None)
        _legend_above(axes)
    return picture.text


def histogram(series: Mapping[str, Latencies], *, of: str, bin_ms: float, until_ms: float) -> str:
    """Draw which share `of` something came in each bin, up to `until_ms`; one panel per series.

    What came later is said in the panel's title, so that nothing is hidden.
    """
    edges = [bin_ms * index for index in range(round(until_ms / bin_ms) + 1)]
    with _drawing(height_in=0.6 + 1.3 * len(series)) as picture:
        panels = picture.figure.subplots(len(series), sharex=True, sharey=True, squeeze=False)
        for (name, latencies), colour, axes in zip(
            series.items(), cycle(COLOURS), panels[:, 0], strict=False
        ):
            total = max(latencies.count, 1)
            passed = [latencies.below(edge) for edge in edges]
            shares = [100 * (until - since) / total for since, until in pairwise(passed)]
            axes.stairs(shares, edges, fill=True, color=colour)
            later = 100 * (1 - passed[-1] / total)
            axes.set_title(name + (f" ({later:.1f} % came later)" if later >= 0.05 else ""))
        panels[-1, 0].set(xlabel="latency, ms", xlim=(0, until_ms))
        picture.figure.supylabel(f"{of}, % per {bin_ms:g} ms", fontsize="medium", color=INK)
    return picture.text


def timeline(
    series: Mapping[str, Sequence[tuple[float, float]]], *, unit: str, bound: Bound | None = None
) -> str:
    """Draw what was seen when, as (seconds, value), and a bound."""
    with _drawing(height_in=3.0) as picture:
        axes = picture.figure.subplots()
        for (name, points), colour, dash in zip(
            series.items(), cycle(COLOURS), cycle(_DASHES), strict=False
        ):
            seconds, values = zip(*points, strict=True)
            axes.plot(seconds, values, color=colour, linestyle=dash, label=name)
        if bound is not None:
            axes.axhline(bound.value, color=BOUND, linewidth=1.2, label=bound.text)
        axes.set(xlabel="time, s", ylabel=unit)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        _legend_above(axes)
    return picture.text


def _legend_above(axes: Axes) -> None:
    # Nowhere inside is there surely no line.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)


class _Picture:
    """A figure, and its text once it is drawn."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.text = ""


@contextmanager
def _drawing(*, height_in: float) -> Iterator[_Picture]:
    with mpl.rc_context(STYLE):
        picture = _Picture(Figure(figsize=(WIDTH_IN, height_in)))
        yield picture
        picture.text = svg(picture.figure)


def _in_order(part: Part, subjects: Sequence[str]) -> list[Sequence[float]]:
    return [part[subject] for subject in subjects]


def _subjects(panel: Bars) -> list[str]:
    return list(next(iter(panel.parts.values())))


def _draw_bars(panel: Bars, axes: Axes) -> None:
    subjects = _subjects(panel)
    ends = [0.0] * len(subjects)
    for (part, rounds), colour in zip(panel.parts.items(), cycle(COLOURS), strict=False):
        widths = [Spread.of(rounds[subject]).median for subject in subjects]
        axes.barh(subjects, widths, left=ends, height=0.6, color=colour, label=part)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    wholes = [
        Spread.of([sum(each) for each in zip(*parts, strict=True)])
        for parts in zip(*(_in_order(part, subjects) for part in panel.parts.values()), strict=True)
    ]
    axes.hlines(
        subjects, [each.low for each in wholes], [each.high for each in wholes], color=INK, lw=1.2
    )
    if panel.bound is not None:
        axes.axvline(panel.bound, color=BOUND, linewidth=1.2)
    axes.set_title(panel.title)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    if len(panel.parts) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
