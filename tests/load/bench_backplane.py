"""Measures the backplane alone, between nodes without servers: `make bench-backplane`.

Takes about two minutes; --only and --rounds choose less or more. docs/benchmarks.md tells what is
measured and how.
"""

from __future__ import annotations

from importlib import metadata

from tests.load import rounds
from tests.load.backplane import suite
from tests.load.backplane.scenarios import opened

if __name__ == "__main__":
    rounds.main(
        rounds.Suite(
            "bench-backplane",
            suite.SCENARIOS,
            suite.TARGETS,
            ours=suite.OURS,
            head=(
                f"realtime-node {metadata.version('realtime-node')}",
                "Redis has the first core to itself; all nodes share the others",
            ),
            warn=suite.warnings,
        ),
        rounds.parse_arguments(__doc__, suite.SCENARIOS),
        opened,
    )
