"""Runs scenarios round by round, with every subject in each round, and reports.

Subjects take turns (A, B, A, B, …), so that a machine that is slower for a minute is slower for
all of them. bench.py and bench_peers.py differ in their subjects alone.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.load import compression, machine, report, scenarios
from tests.load.generators import GeneratorError
from tests.load.report import Target
from tests.load.results import Delivery
from tests.load.scenarios import Lab
from tests.load.servers import OUR_NODE, Kind, MissingRedisError
from tests.load.tools import ToolsNotBuiltError, build_tools

C_LOOP = "C send()"
UVLOOP = "uvloop write"
PEER = "Centrifugo"

_TOLERABLE_WAITING_PERCENT = 10
_REPORTS = Path(__file__).parents[2] / ".cache" / "bench"


@dataclass(frozen=True)
class Scenario:
    """One row of the suite."""

    title: str
    measure: Callable[..., Awaitable[Any]]  # of (lab, kind)
    rounds: int
    baselines: tuple[tuple[str, Callable[[Lab], Awaitable[Any]]], ...] = ()


SCENARIOS: dict[str, Scenario] = {
    "unbatched": Scenario(
        "Unbatched: 50 publications/s to 1,000 clients",
        scenarios.unbatched,
        rounds=3,
        baselines=((C_LOOP, scenarios.c_send_loop), (UVLOOP, scenarios.uvloop_send_loop)),
    ),
    "steady": Scenario("Steady: 200 publications/s to 1,000 clients", scenarios.steady, rounds=2),
    "ceiling": Scenario(
        "Ceiling: as many publications as 1,000 clients receive whole",
        scenarios.ceiling,
        rounds=3,
        baselines=(
            (C_LOOP, scenarios.c_send_loop_of_batches),
            (UVLOOP, scenarios.uvloop_send_loop_of_batches),
        ),
    ),
    "compression": Scenario(
        "Compression: 20 publications/s of 1 KB of JSON to 1,000 clients, with and without",
        compression.compressing,
        rounds=3,
    ),
    "connections": Scenario("Connections: 8,000 clients", scenarios.connections, rounds=1),
    "http": Scenario("HTTP publish, one by one", scenarios.http_publish, rounds=2),
    **{
        f"nodes-{nodes}": Scenario(
            f"Cluster of {nodes} over Redis, 1,000 clients",
            functools.partial(scenarios.cluster, nodes=nodes),
            rounds=1,
        )
        for nodes in (1, 2, 4)
    },
}

TARGETS = (
    Target(
        # Per frame: a node kept waiting by others may find two publications, and share a frame.
        "unbatched: CPU per delivered frame ÷ C send()",
        "unbatched",
        "us_per_frame",
        2.0,
        relative_to=C_LOOP,
    ),
    # The last fan-out makes the time a little longer than what was published in it.
    Target(
        "steady: deliveries/s, of 200,000", "steady", "deliveries_per_s", 198_000, at_least=True
    ),
    Target(
        "steady: clients that received everything once, %",
        "steady",
        "whole_percent",
        100.0,
        at_least=True,
    ),
    Target("steady: p99 of the last third ÷ first third", "steady", "p99_growth", 1.5),
    Target("ceiling: deliveries/s", "ceiling", "deliveries_per_s", 500_000, at_least=True),
    Target(
        "ceiling: clients that received everything once, %",
        "ceiling",
        "whole_percent",
        100.0,
        at_least=True,
    ),
    Target("ceiling: publications in the fullest frame", "ceiling", "most_per_frame", 16),
    Target("compression: bytes, compressed ÷ plain", "compression", "bytes_ratio", 0.5),
    Target("compression: CPU, compressed ÷ plain", "compression", "cpu_ratio", 1.2),
    Target(
        "ceiling: CPU per delivery ÷ Centrifugo's",
        "ceiling",
        "us_per_delivery",
        0.6,
        relative_to=PEER,
    ),
    Target("resident memory per client, KiB", "connections", "kib_per_client", 20),
    Target(
        "CPU per connect + subscribe ÷ Centrifugo's",
        "connections",
        "us_per_client",
        2.5,
        relative_to=PEER,
    ),
    Target("HTTP publishes/s", "http", "publishes_per_s", 4_000, at_least=True),
)


def parse_arguments(description: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line that both benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--only",
        action="append",
        metavar="SCENARIO",
        help=f"any of {', '.join(SCENARIOS)}, or the start of one; may be given repeatedly",
    )
    parser.add_argument("--rounds", type=int, help="of every scenario, instead of its own number")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round: shows that it works, compares nothing",
    )
    parsed = parser.parse_args(arguments)
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error(f"--rounds is {parsed.rounds}: give at least 1")
    for start in parsed.only or []:
        if not chosen([start]):
            parser.error(f"--only {start}: there is none of that name; {', '.join(SCENARIOS)}")
    return parsed


def main(name: str, arguments: argparse.Namespace, kinds: Sequence[Kind], notes: str) -> None:
    """Measure every kind of server, print the report and keep it under .cache/bench/."""
    machine.raise_open_files_limit()
    begun = time.monotonic()
    results: report.Results = {}
    try:
        with tempfile.TemporaryDirectory(prefix="realtime-bench-") as directory:
            lab = Lab(build_tools(), Path(directory), arguments.quick)
            asyncio.run(_measure_all(lab, arguments, kinds, results))
    except (AssertionError, GeneratorError, MissingRedisError, ToolsNotBuiltError) as failure:
        # What was measured before is still worth reading.
        print(f"\n{failure}\n", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130  # as a shell reports it
    else:
        status = 0
    head = _head(notes, arguments, time.monotonic() - begun) + _warnings(results)
    verdicts = report.judge(results, TARGETS, OUR_NODE.name)
    titles = {key: scenario.title for key, scenario in SCENARIOS.items()}
    text = report.markdown(head, titles, results, verdicts)
    path = _REPORTS / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    report.save(path, text, head, results, verdicts)
    print(f"\n{text}\nKept as {path}.md and .json")
    sys.exit(status)


async def _measure_all(
    lab: Lab, arguments: argparse.Namespace, kinds: Sequence[Kind], results: report.Results
) -> None:
    for key in chosen(arguments.only or [""]):
        scenario = SCENARIOS[key]
        rounds = arguments.rounds or (1 if arguments.quick else scenario.rounds)
        for number in range(1, rounds + 1):
            subjects: list[tuple[str, Callable[[Lab], Awaitable[Any]]]] = [
                *((kind.name, functools.partial(scenario.measure, kind=kind)) for kind in kinds),
                *scenario.baselines,
            ]
            for subject, measure in subjects:
                result = await measure(lab)
                results.setdefault(key, {}).setdefault(subject, []).append(result)
                print(f"{key} {number}/{rounds}  {subject}: {report.one_line(result)}", flush=True)


def chosen(starts: Sequence[str]) -> list[str]:
    """Return the scenarios whose names start with any of these, in their order."""
    return [key for key in SCENARIOS if key.startswith(tuple(starts))]


def _warnings(results: report.Results) -> list[str]:
    # Of our node alone: it has one thread, while those of a Go program also wait for each other.
    waited = max(
        (
            result.server_waiting_percent
            for subjects in results.values()
            for result in subjects.get(OUR_NODE.name, [])
            if isinstance(result, Delivery)
        ),
        default=0.0,
    )
    if waited < _TOLERABLE_WAITING_PERCENT:
        return []
    warning = (
        f"the machine was busy: other programs kept the node from its core for {waited:.0f} % of"
        " the time of one measurement; repeat on a quiet machine"
    )
    return [f"**{warning}**"]


def _head(notes: str, arguments: argparse.Namespace, seconds: float) -> list[str]:
    version = metadata.version("realtime-node")
    head = [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}",
        f"realtime-node {version}{notes}; took {seconds:.0f} s",
        "generators, publisher and Redis share the first core; each server has one of the others",
        "median of the rounds (lowest to highest); ratios are taken within a round",
    ]
    if arguments.quick:
        head.append("**quick run: the figures compare nothing**")
    return head
