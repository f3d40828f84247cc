"""Measures what one node holds on this machine, and says what to set: `make capacity`.

Takes about four minutes. docs/capacity.md tells how to read the report.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.load import machine, report, rounds
from tests.load.capacity import advice, holding, measuring
from tests.load.capacity.knee import Bounds
from tests.load.capacity.summary import Limits, Run
from tests.load.generators import GeneratorError
from tests.load.tools import ToolsNotBuiltError, build_tools

STEP_S: Final = 3.0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--memory-limit",
        type=float,
        metavar="MIB",
        help="of the Pod: max_connections is what fits into it",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=STEP_S,
        help=f"how long each load lasts ({STEP_S:.0f}); longer is steadier",
    )
    parser.add_argument(
        "--lag",
        type=float,
        default=Bounds().lag_p99_ms,
        metavar="MS",
        help=f"bound on the loop lag's p99 ({Bounds().lag_p99_ms:.0f})",
    )
    parser.add_argument(
        "--safety",
        type=float,
        default=advice.SAFETY,
        help=f"share of the measured that is steered to ({advice.SAFETY})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short and small: shows that it works, measures little"
    )
    parsed = parser.parse_args(arguments)
    if not 0 < parsed.safety <= 1:
        parser.error(f"--safety is {parsed.safety}: give a share, such as 0.7")
    if parsed.seconds <= 0 or parsed.lag <= 0:
        parser.error("--seconds and --lag have to be positive")
    return parsed


async def measure(lab: measuring.Lab) -> Limits:
    """Measure one limit after the other."""
    held = await holding.connections(lab)
    single = await measuring.deliveries(lab, 1)
    batched = await measuring.deliveries(lab, measuring.FULL_BATCH)
    connects = await measuring.connects(lab)
    return Limits(held, single, batched, connects, await measuring.lag_source(lab))


def main() -> None:
    """Measure, print the report and keep it under .cache/bench/."""
    arguments = parse_arguments()
    machine.raise_open_files_limit()
    # The probe must not run on the node's core, nor the node's log reader, if it has one.
    os.sched_setaffinity(0, {machine.GENERATOR_CORE})
    bounds = Bounds(lag_p99_ms=arguments.lag)
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="realtime-capacity-") as directory:
            lab = measuring.Lab(
                Path(directory),
                arguments.quick,
                build_tools(),
                step_s=1.0 if arguments.quick else arguments.seconds,
                bounds=bounds,
                tell=lambda line: print(line, flush=True),
            )
            limits = asyncio.run(measure(lab))
        advised = advice.advise(
            limits.measured(bounds),
            memory_limit_mib=arguments.memory_limit,
            safety=arguments.safety,
        )
    except (AssertionError, GeneratorError, ToolsNotBuiltError, ValueError) as failure:
        print(f"\n{failure}\n", file=sys.stderr)
        sys.exit(1)
    run = Run(arguments.quick, arguments.safety, arguments.memory_limit, bounds)
    head = run.head(limits, time.monotonic() - begun)
    text = run.text(head, limits, advised)
    path = rounds.REPORTS / f"capacity-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    report.save(path, text, head, limits.as_results(advised), [])
    print(f"\n{text}\nKept as {path}.md and .json")


if __name__ == "__main__":
    main()
