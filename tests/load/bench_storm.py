"""Lets thousands of clients come back at once, and slowly: `make storm`.

Each scenario is judged by conditions within its own run, and a condition that does not hold ends
the program with 1. Takes between one and two minutes per scenario. docs/storms.md shows what came
out, with the pictures that `--keep docs/images` puts there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.load import rounds
from tests.load.storm import suite


def main() -> None:
    """Play the scenarios that the node offers."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    arguments = rounds.parse_arguments(parser, suite.STORMS)
    rounds.main(
        suite.suite("storm", suite.STORMS),
        arguments,
        suite.opening(arguments.clients, arguments.settings),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what scenarios with a crowd share."""
    parser.add_argument(
        "--clients",
        type=int,
        metavar="N",
        help="of each scenario, instead of its own number; rates shrink likewise",
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
