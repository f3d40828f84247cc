"""Lets a crowd churn for a long time, and looks for what grows or is left behind: `make soak`.

Takes a quarter of an hour, or as many minutes as --minutes says, and ends with 1 when memory grew
or something was left.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.load import rounds
from tests.load.bench_storm import add_options
from tests.load.storm import suite
from tests.load.storm.soaking import MINUTES, SoakLab


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long to churn (15)")
    arguments = rounds.parse_arguments(parser, suite.SOAK)

    @contextlib.asynccontextmanager
    async def open_lab(directory: Path, quick: bool) -> AsyncIterator[SoakLab]:
        yield SoakLab(
            directory, quick, arguments.clients, arguments.settings, minutes=arguments.minutes
        )

    rounds.main(suite.suite("soak", suite.SOAK, []), arguments, open_lab)


if __name__ == "__main__":
    main()
