"""Pictures of figures: the same for the same, small, and with everything in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from tests.load import plots
from tests.load.latencies import Latencies
from tests.load.plots import Bars, Bound

_EVEN = Latencies.read([[ms * 1000, 1000, 5] for ms in range(200)])
_EARLY = Latencies.read([[ms * 1000, 1000, 5] for ms in range(40)])
_SVG = "{http://www.w3.org/2000/svg}"
_LARGEST = 60_000


def _bars() -> str:
    figures = {"queue": [1.0, 1.1, 1.3], "drop": [0.9, 0.95, 1.0]}
    panels = [
        Bars("ratio", {"all": figures}, bound=1.2),
        Bars("memory", {"a": figures, "b": figures}),
    ]
    return plots.bars(panels)


def _cumulative() -> str:
    return plots.cumulative({"even": _EVEN, "early": _EARLY}, of="publications", marks=(0.5, 0.99))


def _histogram() -> str:
    return plots.histogram({"even": _EVEN, "early": _EARLY}, of="clients", bin_ms=5, until_ms=100)


def _timeline() -> str:
    series = {name: [(s / 10, s * up) for s in range(600)] for name, up in (("a", 1.0), ("b", 0.5))}
    return plots.timeline(series, unit="MiB", bound=Bound("budget", 400))


_ALL = pytest.mark.parametrize("draw", [_bars, _cumulative, _histogram, _timeline])


@_ALL
def test_the_same_figures_are_the_same_picture(draw: Callable[[], str]) -> None:
    """Byte for byte, so that a picture changes in a commit only when a figure did."""
    assert draw() == draw()


@_ALL
def test_a_picture_stands_by_itself(draw: Callable[[], str]) -> None:
    """It is small, opaque, and needs neither a font nor anything from elsewhere."""
    text = draw()
    assert len(text) < _LARGEST
    root = ET.fromstring(text)  # noqa: S314 - we have just written it
    assert root.tag == f"{_SVG}svg"
    assert not list(root.iter(f"{_SVG}text"))
    assert not list(root.iter(f"{_SVG}image"))
    background = next(root.iter(f"{_SVG}path"))
    assert "fill: #ffffff" in background.attrib["style"]
    assert "dc:date" not in text


def test_other_figures_are_another_picture() -> None:
    """What is drawn is what was measured."""
    assert plots.bars([Bars("r", {"all": {"a": [1.0]}})]) != plots.bars(
        [Bars("r", {"all": {"a": [1.1]}})]
    )


def test_a_bar_ends_at_the_median_and_its_range_is_that_of_the_rounds() -> None:
    """Of parts that are put together, the range is that of their sum within each round."""
    drawn: list[object] = []
    parts = {"node": {"queue": [8.0, 2.0, 5.0]}, "kernel": {"queue": [50.0, 60.0, 58.0]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.axes.Axes.hlines", lambda *args, **_: drawn.extend(args[1:]))
        plots.bars([Bars("memory", parts)])
    assert drawn == [["queue"], [58.0], [63.0]]


def test_what_came_later_than_the_picture_ends_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A histogram that ends before the last latency tells in its title how many it leaves out."""
    titles: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _, title: titles.append(title))
    _histogram()
    assert titles == ["even (50.0 % came later)", "early"]
