"""Measures our node alone, beside bare send loops: `make bench`.

Takes about eight minutes; --only and --rounds choose less or more. docs/benchmarks.md tells what is
measured and how.
"""

from __future__ import annotations

from tests.load import rounds, suite
from tests.load.servers import OUR_NODE

if __name__ == "__main__":
    suite.main("bench", rounds.parse_arguments(__doc__, suite.SCENARIOS), [OUR_NODE], notes="")
