"""Measures the longest time that a node's event loop is held by one operation: `make bench-holds`.

Each operation that a client or a caller of the API can trigger runs at its largest size, on a node
in this process over a Redis of its own. Prints a Markdown table and keeps the figures, which
--before of a later run reads. `holds.watch` tells how it is measured; docs/benchmarks.md what.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tests.load import machine, servers
from tests.load.generators import GeneratorError
from tests.load.holds import table
from tests.load.holds.lab import Lab
from tests.load.holds.operations import OPERATIONS
from tests.load.holds.watch import Hold
from tests.load.rounds import REPORTS, chosen
from tests.load.tools import build_tools

_QUICK_PART = 0.02


def main() -> None:
    """Measure, print the table, keep the figures; ends with 1 if an operation failed."""
    arguments = _parse()
    machine.raise_open_files_limit()
    os.sched_setaffinity(0, {machine.server_core(0)})
    holds: dict[str, list[Hold]] = {}
    failed = uvloop.run(_measure_all(arguments, holds))
    before = {} if arguments.before is None else table.load(arguments.before)
    path = REPORTS / f"holds-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    table.save(path, holds)
    titles = {name: operation.title for name, operation in OPERATIONS.items()}
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}\n")
    print(table.markdown(titles, holds, before))
    print(f"\nKept as {path}")
    sys.exit(bool(failed))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        metavar="OPERATION",
        help=f"any of {', '.join(OPERATIONS)}, or the start of one; may be given repeatedly",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of every operation (3)")
    parser.add_argument("--quick", action="store_true", help="one round of small ones: it works")
    parser.add_argument("--before", type=Path, metavar="FILE", help="figures of an earlier run")
    return parser.parse_args()


async def _measure_all(arguments: argparse.Namespace, holds: dict[str, list[Hold]]) -> list[str]:
    tools = build_tools()
    part = _QUICK_PART if arguments.quick else 1.0
    failed = []
    with tempfile.TemporaryDirectory(prefix="realtime-holds-") as directory:
        for name in chosen(OPERATIONS, arguments.only or [""]):
            for number in range(1, (1 if arguments.quick else arguments.rounds) + 1):
                try:
                    # Each finds an empty store.
                    async with servers.redis(Path(directory)) as redis_port:
                        lab = Lab(Path(directory), tools, redis_port, part)
                        hold = await OPERATIONS[name].run(lab)
                except (AssertionError, OSError, TimeoutError, GeneratorError) as error:
                    failed.append(name)
                    print(f"{name} {number}: failed: {error!r}", flush=True)
                    break
                holds.setdefault(name, []).append(hold)
                print(
                    f"{name} {number}: {hold.wall_ms:,.1f} ms, {hold.cpu_ms:,.1f} on the processor",
                    flush=True,
                )
    return failed


if __name__ == "__main__":
    main()
