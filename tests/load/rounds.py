"""Runs scenarios round by round, with every subject in each round, and reports.

Subjects take turns (A, B, A, B, …), so that a machine that is slower for a minute is slower for
all of them. What is measured is a suite's: `suite` for servers, `backplane.suite` for what joins
them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.load import machine, report
from tests.load.generators import GeneratorError
from tests.load.report import Target
from tests.load.servers import MissingRedisError
from tests.load.tools import ToolsNotBuiltError

_TOLERABLE_WAITING_PERCENT = 10
REPORTS = Path(__file__).parents[2] / ".cache" / "bench"


@dataclass(frozen=True)
class Lab:
    """What every scenario needs."""

    directory: Path  # for settings and logs
    quick: bool  # shorter: to see that it works, not to compare

    def seconds(self, full: float) -> float:
        """Return how long to load."""
        return full / 3 if self.quick else full


OpenLab = Callable[[Path, bool], AbstractAsyncContextManager[Lab]]
"""Makes a lab of a directory and `quick`."""


@dataclass(frozen=True)
class Scenario:
    """One table of the report: its subjects are the columns."""

    title: str
    subjects: tuple[tuple[str, Callable[[Any], Awaitable[Any]]], ...]  # name, function of the lab
    rounds: int


@dataclass(frozen=True)
class Suite:
    """What one program measures and reports."""

    name: str  # of the report
    scenarios: Mapping[str, Scenario]
    targets: Sequence[Target]
    ours: str  # the subject that the targets are about
    head: Sequence[str]  # what was measured, and where it ran
    warn: Callable[[report.Results], list[str]]  # of what spoils the figures
    derive: Callable[[report.Results], report.Results] = dict
    """Returns the results with what follows from them, as further subjects."""
    draw: Callable[[report.Results], Mapping[str, str]] = lambda _: {}
    """Returns pictures of what was measured: file name → SVG. It imports what it draws with."""
    strict: bool = False  # a target that is not met ends the program with 1


def parse_arguments(
    parser: argparse.ArgumentParser | str | None,
    scenarios: Iterable[str],
    arguments: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Read the command line that all benchmarks share.

    A benchmark with options of its own gives the parser that knows them, others a description.
    """
    names = list(scenarios)
    if not isinstance(parser, argparse.ArgumentParser):
        parser = argparse.ArgumentParser(description=parser)
    parser.add_argument(
        "--only",
        action="append",
        metavar="SCENARIO",
        help=f"any of {', '.join(names)}, or the start of one; may be given repeatedly",
    )
    parser.add_argument("--rounds", type=int, help="of every scenario, instead of its own number")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round: shows that it works, compares nothing",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="put the pictures, if there are any, here too, over earlier ones, e.g. docs/images",
    )
    parsed = parser.parse_args(arguments)
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error(f"--rounds is {parsed.rounds}: give at least 1")
    if parsed.keep and parsed.quick:
        parser.error("--keep with --quick: what compares nothing is not worth keeping")
    for start in parsed.only or []:
        if not chosen(names, [start]):
            parser.error(f"--only {start}: there is none of that name; {', '.join(names)}")
    return parsed


def chosen(names: Iterable[str], starts: Sequence[str]) -> list[str]:
    """Return the scenarios whose names start with any of these, in their order."""
    return [name for name in names if name.startswith(tuple(starts))]


def main(suite: Suite, arguments: argparse.Namespace, open_lab: OpenLab) -> None:
    """Measure, print the report and keep it under .cache/bench/; ends the program.

    Pictures go into a folder of the report's name, and into `--keep` when all went well.
    """
    machine.raise_open_files_limit()
    begun = time.monotonic()
    results: report.Results = {}
    try:
        with tempfile.TemporaryDirectory(prefix="realtime-bench-") as directory:
            asyncio.run(
                _measure_all(suite, open_lab(Path(directory), arguments.quick), arguments, results)
            )
    except (AssertionError, GeneratorError, MissingRedisError, ToolsNotBuiltError) as failure:
        # What was measured before is still worth reading.
        print(f"\n{failure}\n", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130  # as a shell reports it
    else:
        status = 0
    results = suite.derive(results)
    head = _head(suite, results, quick=arguments.quick, seconds=time.monotonic() - begun)
    verdicts = report.judge(results, suite.targets, suite.ours)
    if suite.strict and not all(verdict.is_met for verdict in verdicts):
        status = status or 1
    titles = {key: scenario.title for key, scenario in suite.scenarios.items()}
    text = report.markdown(head, titles, results, verdicts)
    path = REPORTS / f"{suite.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    report.save(path, text, head, results, verdicts)
    print(f"\n{text}\nKept as {path}.md and .json")
    pictures = suite.draw(results)
    for file in keep_pictures(path, pictures):
        print(f"Drawn as {file}")
    if arguments.keep and status == 0:  # what was interrupted does not replace what was whole
        keep_pictures(arguments.keep, pictures)
    sys.exit(status)


def keep_pictures(folder: Path, pictures: Mapping[str, str]) -> list[Path]:
    """Write the pictures into a folder, making it; return their paths."""
    if pictures:
        folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, svg in pictures.items():
        files.append(folder / name)
        files[-1].write_text(svg)
    return files


def warnings_of_waiting(who: str, percent: float) -> list[str]:
    """Warn when a measurement was not undisturbed: `who` waited for its core for so much of it."""
    if percent < _TOLERABLE_WAITING_PERCENT:
        return []
    warning = (
        f"the machine was busy: other programs kept {who} from its core for {percent:.0f} % of the"
        " time of one measurement; repeat on a quiet machine"
    )
    return [warning]


async def _measure_all(
    suite: Suite,
    opening: AbstractAsyncContextManager[Lab],
    arguments: argparse.Namespace,
    results: report.Results,
) -> None:
    async with opening as lab:
        for key in chosen(suite.scenarios, arguments.only or [""]):
            scenario = suite.scenarios[key]
            rounds = arguments.rounds or (1 if arguments.quick else scenario.rounds)
            for number in range(1, rounds + 1):
                for subject, measure in scenario.subjects:
                    result = await measure(lab)
                    results.setdefault(key, {}).setdefault(subject, []).append(result)
                    print(
                        f"{key} {number}/{rounds}  {subject}: {report.one_line(result)}", flush=True
                    )


def _head(suite: Suite, results: report.Results, *, quick: bool, seconds: float) -> list[str]:
    what, *where = suite.head
    head = [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}",
        f"{what}; took {seconds:.0f} s",
        *where,
        "median of the rounds (lowest to highest); ratios are taken within a round",
    ]
    if quick:
        head.append("**quick run: the figures compare nothing**")
    return head + [f"**{warning}**" for warning in suite.warn(results)]
