"""Turns results into what is read: a table in the terminal, and Markdown and JSON to keep.

Rounds become medians with their spread. Ratios are taken within a round, where both sides met the
same machine, and only then summed up. A target is the issue's figure, marked as met or not; nothing
here fails a build, since another machine has another speed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.results import Label

Results = dict[str, dict[str, list[Any]]]  # scenario → subject → a result per round


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        """Return the median, and the range where there is one."""
        median, low, high = (f"{v:,.{digits}f}" for v in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"


@dataclass(frozen=True)
class Target:
    """A bound on a figure of our node, or on its ratio to the same figure of another subject."""

    text: str
    scenario: str
    figure: str
    limit: float
    at_least: bool = False
    relative_to: str | None = None
    subject: str | None = None  # that it is about, if not about ours

    def is_met_by(self, value: float) -> bool:
        """Tell whether the value is on the right side of the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; the median decides."""

    target: Target
    measured: Spread

    @property
    def is_met(self) -> bool:
        """Whether the median meets the target."""
        return self.target.is_met_by(self.measured.median)


def judge(results: Results, targets: Sequence[Target], ours: str) -> list[Verdict]:
    """Return a verdict for each target whose figures were measured."""
    verdicts = []
    for target in targets:
        subjects = results.get(target.scenario, {})
        measured = figures(subjects, target.subject or ours, target.figure, target.relative_to)
        if measured:
            verdicts.append(Verdict(target, Spread.of(measured)))
    return verdicts


def figures(
    subjects: Mapping[str, Sequence[Any]], subject: str, name: str, relative_to: str | None = None
) -> list[float]:
    """Return a subject's figure of each round, or its ratio to that of another in that round."""
    mine = [getattr(result, name) for result in subjects.get(subject, [])]
    if relative_to is None:
        return mine
    others = [getattr(result, name) for result in subjects.get(relative_to, [])]
    return [a / b for a, b in zip(mine, others, strict=False) if b]


def markdown(
    head: Sequence[str], titles: dict[str, str], results: Results, verdicts: Sequence[Verdict]
) -> str:
    """Return the whole report."""
    lines = [*(f"- {line}" for line in head), ""]
    if verdicts:
        lines += ["### Targets", "", *_verdict_table(verdicts), ""]
    for scenario, subjects in results.items():
        lines += [f"### {titles[scenario]}", "", *_scenario_table(subjects), ""]
    return "\n".join(lines)


def save(
    path: Path, text: str, head: Sequence[str], results: Results, verdicts: Sequence[Verdict]
) -> None:
    """Write `path`.md and `path`.json, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(text)
    raw = {
        "head": list(head),
        "results": {
            scenario: {
                subject: [dataclasses.asdict(result) for result in rounds]
                for subject, rounds in subjects.items()
            }
            for scenario, subjects in results.items()
        },
        "targets": [{**dataclasses.asdict(verdict), "met": verdict.is_met} for verdict in verdicts],
    }
    path.with_suffix(".json").write_text(json.dumps(raw, indent=2) + "\n")


def one_line(result: object) -> str:
    """Return the first figures of one result, to show that the run goes on."""
    return ", ".join(
        f"{label.text} {value:,.{label.digits}f}{label.unit and ' ' + label.unit}"
        for label, value in list(_figures(result))[:3]
    )


def _figures(result: Any) -> Iterator[tuple[Label, float]]:
    for field in dataclasses.fields(result):
        label = field.metadata.get("label")
        if label is not None:
            yield label, getattr(result, field.name)


def _verdict_table(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [
        (
            verdict.target.text,
            verdict.measured.text(2 if verdict.target.limit < 100 else 0),
            f"{'≥' if verdict.target.at_least else '≤'} {verdict.target.limit:,g}",
            "met" if verdict.is_met else "**not met**",
        )
        for verdict in verdicts
    ]
    return _table(("target", "measured", "wanted", ""), rows)


def _scenario_table(subjects: dict[str, list[Any]]) -> list[str]:
    columns = {
        subject: {
            label: Spread.of([dict(_figures(result))[label] for result in rounds])
            for label, _ in _figures(rounds[0])
        }
        for subject, rounds in subjects.items()
    }
    labels = list(dict.fromkeys(label for column in columns.values() for label in column))

    def cell(subject: str, label: Label) -> str:
        spread = columns[subject].get(label)
        return spread.text(label.digits) if spread else ""

    rows = [
        (
            f"{label.text}, {label.unit}" if label.unit else label.text,
            *(cell(subject, label) for subject in columns),
        )
        for label in labels
    ]
    return _table(("", *columns), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join([first, *(c.strip().rjust(len(c)) for c in rest)]) + " |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [line(head), f"|{rule}|", *map(line, rows)]
