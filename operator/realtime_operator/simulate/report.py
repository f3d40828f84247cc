"""A run told: a table for the terminal, and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from realtime_operator.simulate.record import Line, Summary
from realtime_operator.simulate.run import Case, Run

MOST_LINES: Final = 1000
"""Of a run, in JSON: a long one is thinned out, and its rates keep their highest."""

Cell = Callable[[Summary], str]


def table(case: Case, runs: Sequence[Run]) -> str:
    """What came out, the rivals beside each other."""
    rows = [("", *(run.name for run in runs))]
    rows += [(title, *(cell(run.summary) for run in runs)) for title, cell in _ROWS]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    told = [f"{run.name} told: {_events(run.events)}" for run in runs if run.events]
    return "\n".join([*_head(case, runs), "", *lines, "", *told, *_histograms(runs)]) + "\n"


def document(case: Case, runs: Sequence[Run]) -> str:
    """All of it, as JSON: settings, figures, and what happened when."""
    said: dict[str, Any] = {
        "scenario": case.scenario.name,
        "about": case.scenario.about,
        "seed": case.seed,
        "perClient": case.is_per_client,
        "nodes": case.size.nodes,
        "clientsPerNode": case.size.clients_per_node,
        "spec": case.spec.model_dump(by_alias=True, exclude_defaults=True, mode="json"),
        "assumptions": asdict(case.assumptions),
        "happenings": [{"atS": each.at_s, "what": each.what} for each in case.scenario.happenings],
        "runs": [
            {
                "name": run.name,
                "summary": asdict(run.summary),
                "decisions": run.rounds,
                "events": run.events,
                "lines": [line._asdict() for line in thinned(run.lines, MOST_LINES)],
            }
            for run in runs
        ],
    }
    return json.dumps(said, indent=1) + "\n"


def thinned(lines: Sequence[Line], most: int) -> list[Line]:
    """At most so many lines: of several in a row the last, with the highest of their rates."""
    every = -(-len(lines) // most)
    return [_together(lines[at : at + every]) for at in range(0, len(lines), every)]


def _together(lines: Sequence[Line]) -> Line:
    return lines[-1]._replace(
        reconnects_per_s=max(line.reconnects_per_s for line in lines),
        refused_per_s=max(line.refused_per_s for line in lines),
        admitted_per_s=max(line.admitted_per_s for line in lines),
        latency_p99_ms=max(line.latency_p99_ms for line in lines),
    )


def _head(case: Case, runs: Sequence[Run]) -> Iterator[str]:
    spec, size = case.spec, case.size
    yield f"{case.scenario.name}: {case.scenario.about}"
    yield (
        f"{_count(size.clients)} clients at most, {size.nodes} x {_count(size.clients_per_node)};"
        f" a node holds {_count(spec.capacity.max_connections)},"
        f" target {spec.autoscaling.target_connection_percent} %;"
        f" {_duration(runs[0].summary.duration_s)} in steps of {case.step_s:g} s, seed {case.seed}"
    )
    yield (
        f"autoscaling {spec.autoscaling.mode}, {spec.autoscaling.min_replicas} to"
        f" {spec.autoscaling.max_replicas} nodes; drains within {spec.drain.window_seconds} s,"
        f" {spec.update.max_concurrent_drains} at a time; {runs[0].rounds} decisions"
    )


def _events(events: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(events.items()))


def _histograms(runs: Sequence[Run]) -> Iterator[str]:
    counted = [run for run in runs if run.summary.histogram is not None]
    if not counted:
        return
    most = max(max(run.summary.histogram or {0: 0}) for run in counted)
    yield ""
    yield "clients by their reconnects"
    for times in range(most + 1):
        cells = "  ".join(
            f"{run.name}: {_count((run.summary.histogram or {}).get(times, 0)):>9}"
            for run in counted
        )
        yield f"  {times:>2}  {cells}"


def _count(number: float) -> str:
    return f"{round(number):,}"


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes read better as seconds
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 - likewise two hours
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _most(summary: Summary) -> str:
    most = summary.reconnects_per_client_max
    return "not counted" if most is None else str(most)


def _budget(summary: Summary) -> str:
    return "none" if summary.budget_per_s is None else _count(summary.budget_per_s)


def _settled(summary: Summary) -> str:
    at_s = summary.settled_at_s
    return "not at the end" if at_s is None else _duration(at_s)


_ROWS: Final[Sequence[tuple[str, Cell]]] = (
    ("nodes, fewest", lambda told: str(told.nodes_min)),
    ("nodes, most", lambda told: str(told.nodes_max)),
    ("node-hours", lambda told: f"{told.node_hours:,.1f}"),
    ("reconnects", lambda told: _count(told.reconnects)),
    ("reconnects per client, average", lambda told: f"{told.reconnects_per_client:.2f}"),
    ("reconnects per client, most", _most),
    ("reconnects per second, most", lambda told: _count(told.reconnects_peak_per_s)),
    ("  the budget then", _budget),
    ("clients above capacity for", lambda told: _duration(told.above_capacity_s)),
    ("client-hours without connection", lambda told: f"{told.offline_client_hours:,.1f}"),
    ("connections refused", lambda told: _count(told.refused)),
    ("latency proxy, p99", lambda told: f"{told.latency_p99_ms:.0f} ms"),
    ("  in the worst 5 s", lambda told: f"{told.latency_p99_worst_ms:.0f} ms"),
    ("all as wanted after", _settled),
)
