"""The table of holds: a row per operation, now and at an earlier commit."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.load.holds.watch import Hold

LIMIT_MS: Final = 20.0
"""No operation holds the loop for longer, on a quiet machine."""

Holds = Mapping[str, Sequence[Hold]]
"""By the name of the operation, a hold per round."""


def markdown(titles: Mapping[str, str], holds: Holds, before: Holds) -> str:
    """Return the table: medians of the rounds in ms; `before` may know other operations."""
    lines = [
        "| operation | before, ms | now, ms | of it on the processor, ms | |",
        "|---|---:|---:|---:|---|",
    ]
    for name, title in titles.items():
        if name not in holds:
            continue
        now, cpu = median_ms(holds[name]), statistics.median(h.cpu_ms for h in holds[name])
        then = f"{median_ms(before[name]):,.1f}" if before.get(name) else ""
        met = "" if now <= LIMIT_MS else f"**more than {LIMIT_MS:.0f}**"
        lines.append(f"| {title} | {then} | {now:,.1f} | {cpu:,.1f} | {met} |")
    return "\n".join(lines)


def median_ms(holds: Sequence[Hold]) -> float:
    """Return the usual longest hold."""
    return statistics.median(hold.wall_ms for hold in holds)


def save(path: Path, holds: Holds) -> None:
    """Keep what was measured, for a later run to stand beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: [vars(h) for h in each] for name, each in holds.items()}))


def load(path: Path) -> Holds:
    """Read what an earlier run kept."""
    kept = json.loads(path.read_text())
    return {name: [Hold(**hold) for hold in each] for name, each in kept.items()}
