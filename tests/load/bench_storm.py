"""Lets thousands of clients come back at once, and slowly: `make storm`.

Each scenario is judged by conditions within its own run, and a condition that does not hold ends
the program with 1. A scenario that needs what the node does not offer is left out, and the report
says so. Takes about a minute per scenario.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from tests.load import rounds
from tests.load.storm import suite


def main() -> None:
    """Play the scenarios that the node offers."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    arguments = rounds.parse_arguments(parser, suite.STORMS)
    with tempfile.TemporaryDirectory(prefix="realtime-storm-") as directory:
        can, cannot = asyncio.run(suite.offered(suite.STORMS, Path(directory)))
    rounds.main(
        suite.suite("storm", can, cannot),
        arguments,
        suite.opening(arguments.clients, arguments.settings),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what scenarios with a crowd share."""
    parser.add_argument(
        "--clients", type=int, metavar="N", help="of each scenario, instead of its own number"
    )
    parser.add_argument(
        "--settings",
        type=lambda path: json.loads(Path(path).read_text()),
        default={},
        metavar="FILE.json",
        help="settings that are added to those of every node",
    )


if __name__ == "__main__":
    main()
