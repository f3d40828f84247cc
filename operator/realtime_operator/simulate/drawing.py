"""How pictures look that are kept: SVG that is the same bytes for the same figures.

On white, so that they can be read in a dark theme too, and in colours that the colour-blind can
tell apart. Letters are outlines, so that a picture needs no font. The benchmarks draw by this too.
"""

from __future__ import annotations

import io
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's, in an order whose neighbours differ in lightness too."""
BOUND: Final = "#b00020"
INK: Final = "#24292f"

STYLE: Final[dict[RcKeyType, Any]] = {
    "svg.hashsalt": "realtime-cluster",  # else the names inside are drawn by lot
    "svg.fonttype": "path",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#d8dee4",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


def svg(figure: Figure) -> str:
    """The text of a picture that was drawn in this style."""
    written = io.StringIO()
    # Neither a date nor a version: they would differ where no figure does.
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"
